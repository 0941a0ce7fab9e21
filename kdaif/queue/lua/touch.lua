-- A tenant is about to get work. KEYS: tenants, busy. ARGV: tenant, milliseconds for which it counts as busy at least,
-- milliseconds for which it is made so, '1' when it may be a new one.
local TENANTS, BUSY = KEYS[1], KEYS[2]
if ARGV[4] == '1' then
  redis.call('SADD', TENANTS, ARGV[1])
elseif redis.call('SISMEMBER', TENANTS, ARGV[1]) == 0 then
  return 0
end
-- No write for each of many submissions.
local until_ms = redis.call('ZSCORE', BUSY, ARGV[1])
if until_ms and tonumber(until_ms) >= NOW + tonumber(ARGV[2]) then
  return 0
end
return redis.call('ZADD', BUSY, NOW + tonumber(ARGV[3]), ARGV[1])
