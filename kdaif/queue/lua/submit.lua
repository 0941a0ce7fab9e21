-- -> QUEUED. KEYS[8]: jobs, KEYS[9]: request. ARGV: id, call, body digest, field, value, ...
local JOBS, REQUEST = KEYS[8], KEYS[9]

local known = redis.call('HGET', REQUEST, 'job')
if known then
  if redis.call('HGET', REQUEST, 'body') ~= ARGV[3] then
    return {'TAKEN', known}
  end
  return {'KNOWN', known}
end

local order = redis.call('INCR', ORDER)
for i = 4, #ARGV, 2 do
  set(ARGV[i], ARGV[i + 1])
end
set('state', 'QUEUED', 'attempt', 0, 'attempts_forgiven', 0, 'order', order, 'created_at_ms', NOW, 'last_call', CALL)
redis.call('HSET', REQUEST, 'job', ID, 'body', ARGV[3])
redis.call('ZADD', JOBS, 0, ID)
redis.call('ZADD', QUEUED, order, ID)
record('queued')
return answer()
