-- Job ids whose lease ran out. KEYS: leases, extended, reaped. ARGV: lease_ms.
-- When nobody has looked for longer than a lease, the server was away and no worker could renew: every lease then gets one
-- more term, once, before its job is taken away.
local LEASES, EXTENDED, REAPED = KEYS[1], KEYS[2], KEYS[3]
local lease_ms = tonumber(ARGV[1])

local last = redis.call('GET', REAPED)
redis.call('SET', REAPED, NOW)
if last and NOW - tonumber(last) > lease_ms then
  for _, id in ipairs(redis.call('ZRANGEBYSCORE', LEASES, '-inf', NOW + lease_ms)) do
    if redis.call('SADD', EXTENDED, id) == 1 then
      redis.call('ZADD', LEASES, NOW + lease_ms, id)
    end
  end
end
return redis.call('ZRANGEBYSCORE', LEASES, '-inf', NOW)
