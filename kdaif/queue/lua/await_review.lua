-- RUNNING -> AWAITING_REVIEW, CANCELLING -> CANCELLED. ARGV: id, call, token, failure, failure of a cancelled job.
local verdict = 'review:' .. ARGV[3]
local known = settled(verdict, ARGV[3])
if known then
  return known
end
if STATE == 'CANCELLING' then
  finish('CANCELLED', with_attempt(ARGV[5]), 'verdict', verdict, 'last_call', CALL)
else
  local failure = with_attempt(ARGV[4])
  release()
  record_for_archive('review', {failure = failure},
    'state', 'AWAITING_REVIEW', 'failure', failure, 'verdict', verdict, 'last_call', CALL)
end
return answer_holder()
