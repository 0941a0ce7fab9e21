-- Second part of every script that moves a job: names for its keys, and the steps that several transitions share.
-- ARGV[1] is the job id; ARGV[2] names this call, so that a call repeated after a lost reply changes nothing.
local JOB, EVENTS, LINE, DELAYED, NEEDS, LEASES, EXTENDED, ORDER, DEADLINES, ENDED, UNSAVED, CLAIMS =
  KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6], KEYS[7], KEYS[8], KEYS[9], KEYS[10], KEYS[11], KEYS[12]
-- The ends of the ids of the job's shards; see `at_shard`.
local SHARDS = KEYS[1] .. ':shards'
local ID, CALL = ARGV[1], ARGV[2]

local function field(name)
  return redis.call('HGET', JOB, name)
end

local STATE = ID ~= '' and field('state')

-- For scripts that find the job themselves. Their first two keys end before its id.
local function open(id)
  ID, JOB, EVENTS, SHARDS = id, KEYS[1] .. id, KEYS[2] .. id, KEYS[1] .. id .. ':shards'
  STATE = field('state')
end

local function set(...)
  redis.call('HSET', JOB, ...)
end

local AS_SUBMITTED = {'spec', 'preflight', 'estimate', 'display_name', 'max_attempts', 'created_at_ms', 'origin', 'shard'}
local MOVING = {'state', 'attempt', 'worker', 'claim', 'started_at_ms', 'ended_at_ms', 'deadline_at_ms', 'progress',
  'failure', 'result'}

-- Those of the fields that the job has, as name, value, ...
local function told(told_fields, flat)
  flat = flat or {}
  for i, value in ipairs(redis.call('HMGET', JOB, unpack(told_fields))) do
    if value then
      flat[#flat + 1] = told_fields[i]
      flat[#flat + 1] = value
    end
  end
  return flat
end

local function whole()
  return told(MOVING, told(AS_SUBMITTED))
end

local function answer()
  return {'OK', whole()}
end

-- To who claimed the job, and so knows the rest of it.
local function answer_holder()
  return {'OK', told(MOVING)}
end

local function refuse(code)
  return {code, STATE or '', field('attempt') or ''}
end

local function is_repeated()
  return field('last_call') == CALL
end

-- The attempt and the claim that made it: after a failover that lost a claim, another may have the same attempt.
local function holds(token)
  return (STATE == 'RUNNING' or STATE == 'CANCELLING') and field('attempt') .. ':' .. (field('claim') or '') == token
end

local function record(kind, details)
  details = details or {}
  local sequence = redis.call('HINCRBY', JOB, 'event_count', 1)
  redis.call('XADD', EVENTS, string.format('%d-0', sequence),
    'kind', kind, 'time_ms', NOW, 'state', field('state'), 'attempt', field('attempt'),
    'progress', details.progress or '', 'metrics', details.metrics or '', 'failure', details.failure or '')
end

-- The archive has yet to write the job as it is now. The version tells its writers which of two states is the later.
local function mark_unsaved()
  redis.call('HSET', UNSAVED, ID, redis.call('HINCRBY', JOB, 'version', 1))
end


-- What a worker must offer, then how urgent, then how old: members sort by their letters, so the first member that
-- begins with some needs is the next job of those needs. Jobs that no worker may run are in nobody's way.
local function take_place(order)
  set('order', order, 'place', string.format('%s|%s|%015d|%s', field('needs'), field('rank'), order, ID))
end

local function join_line()
  redis.call('ZADD', LINE, 0, field('place'))
  redis.call('HINCRBY', NEEDS, field('needs'), 1)
end

local function leave_line()
  local place = field('place')
  redis.call('ZREM', DELAYED, place)
  if redis.call('ZREM', LINE, place) == 1 and redis.call('HINCRBY', NEEDS, field('needs'), -1) <= 0 then
    redis.call('HDEL', NEEDS, field('needs'))
  end
end

-- Does something with the names of a shard in the place of the job's own, behind which they go on.
local function at_shard(end_of_id, act)
  local id, job, events, state = ID, JOB, EVENTS, STATE
  ID, JOB, EVENTS = id .. end_of_id, job .. end_of_id, events .. end_of_id
  STATE = field('state')
  act()
  ID, JOB, EVENTS, STATE = id, job, events, state
end

local function give_up_lease()
  redis.call('ZREM', LEASES, ID)
  redis.call('SREM', EXTENDED, ID)
  redis.call('HDEL', CLAIMS, field('claim') or '')
end

-- Shards are there for the attempt that cut them. Who works on one finds it gone.
local function drop_shards()
  for _, end_of_id in ipairs(redis.call('SMEMBERS', SHARDS)) do
    at_shard(end_of_id, function()
      if STATE then
        leave_line()
        give_up_lease()
        redis.call('DEL', JOB, EVENTS)
      end
    end)
  end
  redis.call('DEL', SHARDS)
  redis.call('HDEL', JOB, 'shards')
end

-- However an attempt ends.
local function release()
  give_up_lease()
  if field('shards') then
    drop_shards()
  end
end

-- The time that a person gave the job for all it has to do, from now on.
local function start_clock()
  local deadline_ms = tonumber(field('deadline_ms') or '0')
  if deadline_ms > 0 then
    set('deadline_at_ms', NOW + deadline_ms)
    redis.call('ZADD', DEADLINES, NOW + deadline_ms, ID)
  end
end

local function is_overdue()
  local at = redis.call('ZSCORE', DEADLINES, ID)
  return at and tonumber(at) <= NOW
end

-- The failure comes as JSON from Python; only here is the attempt known.
local function with_attempt(failure)
  local decoded = cjson.decode(failure)
  decoded.attempt = tonumber(field('attempt'))
  return cjson.encode(decoded)
end

local function finish(state, failure)
  release()
  set('state', state, 'ended_at_ms', NOW)
  if failure then
    set('failure', failure)
  else
    redis.call('HDEL', JOB, 'failure')
  end
  record('finished', {failure = failure})
  if field('shard') then
    return
  end
  redis.call('ZREM', DEADLINES, ID)
  redis.call('ZADD', ENDED, NOW, ID)
  mark_unsaved()
end

-- Back to its old place in the line, but not before a delay that doubles with each attempt: a job that kills its worker
-- must not keep all workers busy dying. Between half and all of the delay, by chance (0 to 1), so that the jobs of a
-- host that died do not all come back at once.
local function requeue_or_bury(failure, delay_ms, chance)
  local used = field('attempt') - field('attempts_forgiven')
  if used >= tonumber(field('max_attempts')) then
    finish('DEAD', failure)
    return
  end
  release()
  set('state', 'QUEUED', 'failure', failure)
  local longest_ms = math.min(60000, delay_ms * 2 ^ (used - 1))
  local wait_ms = math.floor(longest_ms * (1 + chance) / 2)
  if wait_ms > 0 then
    redis.call('ZADD', DELAYED, NOW + wait_ms, field('place'))
  else
    join_line()
  end
  record('requeued', {failure = failure})
end

-- At the end of the line, with every attempt to use again. The attempt goes on counting, for it is the fencing token.
local function queue_afresh()
  take_place(redis.call('INCR', ORDER))
  set('state', 'QUEUED', 'attempts_forgiven', field('attempt'), 'last_call', CALL)
  redis.call('HDEL', JOB, 'ended_at_ms', 'progress')
  redis.call('ZREM', ENDED, ID)
  join_line()
  mark_unsaved()
  record('queued')
end
