-- RUNNING -> QUEUED at once, the attempt forgiven; CANCELLING -> CANCELLED.
-- ARGV: id, call, token, failure for the event, failure of a cancelled job.
local verdict = 'give_back:' .. ARGV[3]
local known = settled(verdict, ARGV[3])
if known then
  return known
end
set('verdict', verdict, 'last_call', CALL)
if STATE == 'CANCELLING' then
  finish('CANCELLED', with_attempt(ARGV[5]))
else
  release()
  join_line()
  record('requeued', {failure = with_attempt(ARGV[4])},
    'state', 'QUEUED', 'attempts_forgiven', field('attempts_forgiven') + 1)
end
return answer_holder()
