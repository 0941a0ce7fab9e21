-- Removes an ended job for good. KEYS[13]: jobs, KEYS[14]: request, KEYS[15]: deleted. ARGV: id, call.
local JOBS, REQUEST, DELETED = KEYS[13], KEYS[14], KEYS[15]
if not STATE then
  return refuse('NOT_FOUND')
end
if STATE ~= 'SUCCEEDED' and STATE ~= 'FAILED' and STATE ~= 'CANCELLED' and STATE ~= 'DEAD' then
  return refuse('WRONG_STATE')
end
redis.call('SADD', DELETED, ID)
redis.call('ZREM', JOBS, ID)
redis.call('ZREM', ENDED, ID)
redis.call('HDEL', UNSAVED, ID)
if redis.call('HGET', REQUEST, 'job') == ID then
  redis.call('DEL', REQUEST)
end
redis.call('DEL', JOB, EVENTS)
return {'OK'}
