-- A worker has ended by itself. KEYS: workers, beats, modes. ARGV: name. A pause outlives it; a drain is done.
local WORKERS, BEATS, MODES = KEYS[1], KEYS[2], KEYS[3]
if redis.call('HGET', MODES, ARGV[1]) ~= 'PAUSED' then
  redis.call('HDEL', MODES, ARGV[1])
  redis.call('HDEL', WORKERS, ARGV[1])
  redis.call('ZREM', BEATS, ARGV[1])
else
  redis.call('ZADD', BEATS, NOW, ARGV[1])
end
return 'OK'
