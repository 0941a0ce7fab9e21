-- QUEUED -> RUNNING. ARGV: id, call, worker, lease_ms. Answers GONE when another worker was faster.
local lease_ms = tonumber(ARGV[4])

if not is_repeated() then
  local available_at = redis.call('ZSCORE', DELAYED, ID)
  if STATE ~= 'QUEUED' or (available_at and tonumber(available_at) > NOW) then
    return refuse('GONE')
  end
  leave_line()
  redis.call('HINCRBY', JOB, 'attempt', 1)
  redis.call('HSETNX', JOB, 'started_at_ms', NOW)
  set('state', 'RUNNING', 'worker', ARGV[3], 'last_call', CALL)
  redis.call('ZADD', LEASES, NOW + lease_ms, ID)
  redis.call('SREM', EXTENDED, ID)
  record('claimed')
end
return {'OK', redis.call('HGETALL', JOB), redis.call('ZSCORE', LEASES, ID) or '0'}
