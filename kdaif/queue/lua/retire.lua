-- A tenant was seen without work. KEYS: busy. ARGV: tenant. Nothing when somebody is about to give it some.
local BUSY = KEYS[1]
local until_ms = redis.call('ZSCORE', BUSY, ARGV[1])
if until_ms and tonumber(until_ms) < NOW then
  return redis.call('ZREM', BUSY, ARGV[1])
end
return 0
