-- RUNNING -> QUEUED or DEAD, CANCELLING -> CANCELLED, when the lease ran out.
-- ARGV: id, call, failure, delay_ms, chance, failure of a cancelled job. Answers GONE when the lease was renewed meanwhile.
if is_repeated() then
  return answer()
end
local expires = redis.call('ZSCORE', LEASES, ID)
if not expires or tonumber(expires) > NOW then
  return refuse('GONE')
end
set('last_call', CALL)
if STATE == 'CANCELLING' then
  finish('CANCELLED', with_attempt(ARGV[6]))
elseif STATE == 'RUNNING' then
  requeue_or_bury(with_attempt(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5]))
else
  release()
  return refuse('GONE')
end
return answer()
