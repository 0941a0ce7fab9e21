-- -> QUEUED. KEYS[12]: jobs, KEYS[13]: request. ARGV: id, call, body digest, most different needs, field, value, ...
local JOBS, REQUEST = KEYS[12], KEYS[13]

local known = redis.call('HGET', REQUEST, 'job')
if known then
  if redis.call('HGET', REQUEST, 'body') ~= ARGV[3] then
    return {'TAKEN', known}
  end
  return {'KNOWN', known}
end

for i = 5, #ARGV, 2 do
  set(ARGV[i], ARGV[i + 1])
end
if redis.call('HEXISTS', NEEDS, field('needs')) == 0 and redis.call('HLEN', NEEDS) >= tonumber(ARGV[4]) then
  redis.call('DEL', JOB)
  return {'TOO_DIFFERENT'}
end
set('state', 'QUEUED', 'attempt', 0, 'attempts_forgiven', 0, 'created_at_ms', NOW, 'last_call', CALL, 'body', ARGV[3])
take_place(redis.call('INCR', ORDER))
redis.call('HSET', REQUEST, 'job', ID, 'body', ARGV[3])
redis.call('ZADD', JOBS, 0, ID)
join_line()
start_clock()
mark_unsaved()
record('queued')
return answer()
