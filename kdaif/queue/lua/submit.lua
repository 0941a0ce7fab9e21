-- -> QUEUED. KEYS[1] and KEYS[2] lack the job's id, which begins with the time. KEYS[13]: jobs, KEYS[14]: request.
-- ARGV: '', call, body digest, most different needs, digits of an id, its random end, field, value, ...
local JOBS, REQUEST = KEYS[13], KEYS[14]

-- The milliseconds in 10 digits of 5 bits: ids sort by time.
local function new_id(digits, random_end)
  local id, rest = random_end, NOW
  for _ = 1, 10 do
    local digit = rest % 32
    id = string.sub(digits, digit + 1, digit + 1) .. id
    rest = (rest - digit) / 32
  end
  return id
end

local known = redis.call('HGET', REQUEST, 'job')
if known then
  if redis.call('HGET', REQUEST, 'body') ~= ARGV[3] then
    return {'TAKEN', known}
  end
  return {'KNOWN', known}
end

open(new_id(ARGV[5], ARGV[6]))
set(unpack(ARGV, 7))
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
return {'OK', ID, NOW, field('deadline_at_ms') or ''}
