-- A worker's beat. KEYS: workers, beats, modes. ARGV: name, what it says as JSON, milliseconds until it counts as silent.
-- Answers its mode. Workers that have been silent for a day and that nobody paused are forgotten, some at a time.
local WORKERS, BEATS, MODES = KEYS[1], KEYS[2], KEYS[3]
local day_ms, most_forgotten = 86400000, 64

redis.call('HSET', WORKERS, ARGV[1], ARGV[2])
redis.call('ZADD', BEATS, NOW + tonumber(ARGV[3]), ARGV[1])
for _, name in ipairs(redis.call('ZRANGEBYSCORE', BEATS, '-inf', NOW - day_ms, 'LIMIT', 0, most_forgotten)) do
  if redis.call('HEXISTS', MODES, name) == 0 then
    redis.call('ZREM', BEATS, name)
    redis.call('HDEL', WORKERS, name)
  end
end
return redis.call('HGET', MODES, ARGV[1]) or 'ACTIVE'
