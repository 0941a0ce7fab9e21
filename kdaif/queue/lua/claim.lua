-- QUEUED -> RUNNING, or FAILED when its deadline has passed. ARGV: id, call, worker, lease_ms, failure of an overdue job.
-- Answers GONE when another worker was faster.
local lease_ms = tonumber(ARGV[4])

if not is_repeated() then
  if STATE ~= 'QUEUED' or redis.call('ZSCORE', DELAYED, field('place')) then
    return refuse('GONE')
  end
  leave_line()
  if is_overdue() then
    finish('FAILED', with_attempt(ARGV[5]))
    return refuse('GONE')
  end
  -- A job that came out of the archive counts on from a number that no worker of before can hold.
  local skipped = math.max(0, tonumber(field('attempt_floor') or '0') - field('attempt'))
  redis.call('HINCRBY', JOB, 'attempts_forgiven', skipped)
  redis.call('HINCRBY', JOB, 'attempt', skipped + 1)
  redis.call('HSETNX', JOB, 'started_at_ms', NOW)
  set('state', 'RUNNING', 'worker', ARGV[3], 'claim', CALL, 'last_call', CALL)
  redis.call('ZADD', LEASES, NOW + lease_ms, ID)
  redis.call('SREM', EXTENDED, ID)
  record('claimed')
end
return {'OK', redis.call('HGETALL', JOB), redis.call('ZSCORE', LEASES, ID) or '0', NOW}
