-- RUNNING -> QUEUED at once, the attempt forgiven; CANCELLING -> CANCELLED.
-- ARGV: id, call, token, failure for the event, failure of a cancelled job.
if not STATE then
  return refuse('NOT_FOUND')
end
local verdict = 'give_back:' .. ARGV[3]
if is_repeated() or field('verdict') == verdict then
  return answer_holder()
end
if not holds(ARGV[3]) then
  return refuse('FENCED')
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
