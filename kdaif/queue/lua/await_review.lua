-- RUNNING -> AWAITING_REVIEW, CANCELLING -> CANCELLED. ARGV: id, call, token, failure, failure of a cancelled job.
if not STATE then
  return refuse('NOT_FOUND')
end
local verdict = 'review:' .. ARGV[3]
if is_repeated() or field('verdict') == verdict then
  return answer_holder()
end
if not holds(ARGV[3]) then
  return refuse('FENCED')
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
