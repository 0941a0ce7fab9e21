-- AWAITING_REVIEW -> FAILED. ARGV: id, call, failure.
if not STATE then
  return refuse('NOT_FOUND')
end
if is_repeated() then
  return answer()
end
if STATE ~= 'AWAITING_REVIEW' then
  return refuse('WRONG_STATE')
end
set('last_call', CALL)
finish('FAILED', with_attempt(ARGV[3]))
return answer()
