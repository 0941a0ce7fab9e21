-- The next QUEUED job that the worker may start -> RUNNING; on the way there, overdue jobs -> FAILED.
-- KEYS[1] and KEYS[2] lack the job's id, which is found here: one tenant's keys lie in one slot, so this stays in it.
-- ARGV: '', call, worker, lease_ms, failure of an overdue job, GPUs of the worker, tenant,
-- its labels, ... Answers NONE when no job in line suits the worker. Costs one look per different needs, never one per job.
-- KEYS[13]: modes, KEYS[14]: busy, where one server has them and the tenant was the only busy one when last seen: then
-- the worker has not looked whether that, and its being ACTIVE, still holds. Answers OTHERS when it does not.
local MODES, BUSY = KEYS[13], KEYS[14]
local worker, lease_ms, gpus = ARGV[3], tonumber(ARGV[4]), tonumber(ARGV[6])
-- Bounded numbers at a time; the next claim goes on with the rest.
local most_promoted, most_overdue = 256, 256

local function claimed(expires_ms)
  return {'OK', moving(), as_submitted(), ID, expires_ms, NOW}
end

local before = redis.call('HGET', CLAIMS, CALL)
if before then
  open(before)
  return claimed(redis.call('ZSCORE', LEASES, ID) or '0')
end

if MODES then
  local busy = redis.call('ZRANGE', BUSY, 0, 1)
  if #busy ~= 1 or busy[1] ~= ARGV[7] or redis.call('HEXISTS', MODES, worker) == 1 then
    return {'OTHERS'}
  end
end

local offered = {}
for i = 8, #ARGV do
  offered[ARGV[i]] = true
end

local function fits(needs)
  local wanted_gpus, labels = string.match(needs, '^(%d+);(.*)$')
  if tonumber(wanted_gpus) > gpus then
    return false
  end
  for label in string.gmatch(labels, '[^,]+') do
    if not offered[label] then
      return false
    end
  end
  return true
end

-- The most urgent, and of these the oldest.
local function next_in_line()
  local first
  for _, needs in ipairs(redis.call('HKEYS', NEEDS)) do
    if fits(needs) then
      -- '}' is the character after '|', so this is every member that begins with the needs.
      local place = redis.call('ZRANGEBYLEX', LINE, '[' .. needs .. '|', '(' .. needs .. '}', 'LIMIT', 0, 1)[1]
      local rest = place and string.sub(place, #needs + 2)
      if rest and (not first or rest < first) then
        first = rest
      end
    end
  end
  return first and string.match(first, '[^|]*$')
end

for _, place in ipairs(redis.call('ZRANGEBYSCORE', DELAYED, '-inf', NOW, 'LIMIT', 0, most_promoted)) do
  redis.call('ZREM', DELAYED, place)
  redis.call('ZADD', LINE, 0, place)
  redis.call('HINCRBY', NEEDS, string.match(place, '^[^|]*'), 1)
end

for _ = 1, most_overdue do
  local id = next_in_line()
  if not id then
    return {'NONE'}
  end
  open(id)
  leave_line()
  if not (field('deadline_at_ms') and is_overdue()) then
    -- A job that came out of the archive counts on from a number that no worker of before can hold.
    local skipped = math.max(0, tonumber(field('attempt_floor') or '0') - field('attempt'))
    redis.call('ZADD', LEASES, NOW + lease_ms, ID)
    redis.call('HSET', CLAIMS, CALL, ID)
    record('claimed', nil,
      'state', 'RUNNING', 'worker', worker, 'claim', CALL, 'last_call', CALL,
      'attempt', field('attempt') + skipped + 1, 'attempts_forgiven', field('attempts_forgiven') + skipped,
      'started_at_ms', field('started_at_ms') or NOW)
    return claimed(NOW + lease_ms)
  end
  finish('FAILED', with_attempt(ARGV[5]))
end
return {'NONE'}
