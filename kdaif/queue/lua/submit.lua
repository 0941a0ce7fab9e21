-- -> QUEUED. KEYS[1] and KEYS[2] lack the job's id, which begins with the time. KEYS[13]: jobs, KEYS[14]: request.
-- KEYS[15]: tenants, KEYS[16]: busy, where one server has them; elsewhere `touch` has run before.
-- ARGV: '', call, body digest, most different needs, digits of an id, its random end, tenant, milliseconds for which it
-- counts as busy at least, milliseconds for which it is made so, field, value, ...
local JOBS, REQUEST, TENANTS, BUSY = KEYS[13], KEYS[14], KEYS[15], KEYS[16]
local first_field = 10

-- The milliseconds in 10 digits of 5 bits: ids sort by time.
local function new_id(digits, random_end)
  local codes, rest = {}, NOW
  for place = 10, 1, -1 do
    local digit = rest % 32
    codes[place] = string.byte(digits, digit + 1)
    rest = (rest - digit) / 32
  end
  return string.char(unpack(codes)) .. random_end
end

if TENANTS then
  redis.call('SADD', TENANTS, ARGV[7])
  make_busy(BUSY, ARGV[7], ARGV[8], ARGV[9])
end

local known = redis.call('HMGET', REQUEST, 'job', 'body')
if known[1] then
  if known[2] ~= ARGV[3] then
    return {'TAKEN', known[1]}
  end
  return {'KNOWN', known[1]}
end

for i = first_field, #ARGV, 2 do
  KNOWN[ARGV[i]] = ARGV[i + 1]
end
if redis.call('HEXISTS', NEEDS, field('needs')) == 0 and redis.call('HLEN', NEEDS) >= tonumber(ARGV[4]) then
  return {'TOO_DIFFERENT'}
end

ID = new_id(ARGV[5], ARGV[6])
JOB, EVENTS = KEYS[1] .. ID, KEYS[2] .. ID
local order = redis.call('INCR', ORDER)
KNOWN.state, KNOWN.attempt, KNOWN.place = 'QUEUED', 0, place_of(order)
-- By one command that does not look at each field again.
redis.call('HSET', JOB, 'state', 'QUEUED', 'attempt', 0, 'attempts_forgiven', 0, 'created_at_ms', NOW, 'last_call', CALL,
  'body', ARGV[3], 'order', order, 'place', KNOWN.place, 'version', 1, 'event_count', 1, unpack(ARGV, first_field))
redis.call('HSET', REQUEST, 'job', ID, 'body', ARGV[3])
redis.call('ZADD', JOBS, 0, ID)
redis.call('HSET', UNSAVED, ID, 1)
join_line()
event(1, 'queued')
return {'OK', ID, NOW, start_clock() or ''}
