-- What an operator wants of a worker. KEYS: workers, beats, modes. ARGV: name, mode.
local WORKERS, MODES = KEYS[1], KEYS[3]
if redis.call('HEXISTS', WORKERS, ARGV[1]) == 0 then
  return 'NOT_FOUND'
end
if ARGV[2] == 'ACTIVE' then
  redis.call('HDEL', MODES, ARGV[1])
else
  redis.call('HSET', MODES, ARGV[1], ARGV[2])
end
return 'OK'
