-- RUNNING -> SUCCEEDED, CANCELLING -> CANCELLED. ARGV: id, call, token, result, failure of a cancelled job.
if not STATE then
  return refuse('NOT_FOUND')
end
local verdict = 'succeed:' .. ARGV[3]
if is_repeated() or field('verdict') == verdict then
  return answer_holder()
end
if not holds(ARGV[3]) then
  return refuse('FENCED')
end
if STATE == 'CANCELLING' then
  finish('CANCELLED', with_attempt(ARGV[5]), 'verdict', verdict, 'last_call', CALL)
else
  finish('SUCCEEDED', nil, 'verdict', verdict, 'last_call', CALL, 'result', ARGV[4])
end
return answer_holder()
