-- RUNNING -> SUCCEEDED, CANCELLING -> CANCELLED. ARGV: id, call, token, result, failure of a cancelled job.
local verdict = 'succeed:' .. ARGV[3]
local known = settled(verdict, ARGV[3])
if known then
  return known
end
if STATE == 'CANCELLING' then
  finish('CANCELLED', with_attempt(ARGV[5]), 'verdict', verdict, 'last_call', CALL)
else
  finish('SUCCEEDED', nil, 'verdict', verdict, 'last_call', CALL, 'result', ARGV[4])
end
return answer_holder()
