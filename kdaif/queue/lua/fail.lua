-- RUNNING -> QUEUED, FAILED or DEAD; CANCELLING -> CANCELLED.
-- ARGV: id, call, token, failure, '1' when retryable, delay_ms, chance, failure of a cancelled job.
local verdict = 'fail:' .. ARGV[3]
local known = settled(verdict, ARGV[3])
if known then
  return known
end
set('verdict', verdict, 'last_call', CALL)
if STATE == 'CANCELLING' then
  finish('CANCELLED', with_attempt(ARGV[8]))
elseif ARGV[5] == '1' then
  requeue_or_bury(with_attempt(ARGV[4]), tonumber(ARGV[6]), tonumber(ARGV[7]))
else
  finish('FAILED', with_attempt(ARGV[4]))
end
return answer_holder()
