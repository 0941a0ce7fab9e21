-- The archive has written a job. KEYS: unsaved. ARGV: id, version that was written. Nothing when it has changed since.
local UNSAVED = KEYS[1]
if redis.call('HGET', UNSAVED, ARGV[1]) == ARGV[2] then
  return redis.call('HDEL', UNSAVED, ARGV[1])
end
return 0
