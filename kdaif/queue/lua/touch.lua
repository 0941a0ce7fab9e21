-- A tenant is about to get work. KEYS: tenants, busy. ARGV: tenant, milliseconds for which it counts as busy at least,
-- milliseconds for which it is made so, '1' when it may be a new one.
local TENANTS, BUSY = KEYS[1], KEYS[2]
if ARGV[4] == '1' then
  redis.call('SADD', TENANTS, ARGV[1])
elseif redis.call('SISMEMBER', TENANTS, ARGV[1]) == 0 then
  return 0
end
return make_busy(BUSY, ARGV[1], ARGV[2], ARGV[3])
