-- Job ids whose lease ran out, and those whose deadline passed. KEYS: leases, extended, reaped, deadlines. ARGV: lease_ms.
-- When nobody has looked for longer than a lease, the server was away and no worker could renew: every lease then gets one
-- more term, once, before its job is taken away.
local LEASES, EXTENDED, REAPED, DEADLINES = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local lease_ms, most_overdue = tonumber(ARGV[1]), 256

local last = redis.call('GET', REAPED)
redis.call('SET', REAPED, NOW)
if last and NOW - tonumber(last) > lease_ms then
  for _, id in ipairs(redis.call('ZRANGEBYSCORE', LEASES, '-inf', NOW + lease_ms)) do
    if redis.call('SADD', EXTENDED, id) == 1 then
      redis.call('ZADD', LEASES, NOW + lease_ms, id)
    end
  end
end
return {
  redis.call('ZRANGEBYSCORE', LEASES, '-inf', NOW),
  redis.call('ZRANGEBYSCORE', DEADLINES, '-inf', NOW, 'LIMIT', 0, most_overdue)
}
