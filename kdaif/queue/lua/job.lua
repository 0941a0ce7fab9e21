-- Second part of every script that moves a job: names for its keys, and the steps that several transitions share.
-- ARGV[1] is the job id; ARGV[2] names this call, so that a call repeated after a lost reply changes nothing.
local JOB, EVENTS, LINE, DELAYED, NEEDS, LEASES, EXTENDED, ORDER, DEADLINES, ENDED, UNSAVED, CLAIMS =
  KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6], KEYS[7], KEYS[8], KEYS[9], KEYS[10], KEYS[11], KEYS[12]
-- The ends of the ids of the job's shards; see `at_shard`.
local SHARDS = KEYS[1] .. ':shards'
local ID, CALL = ARGV[1], ARGV[2]

-- Fields of the job that were read or written here; false where it has none. A command costs more than what is done with
-- its answer, so only `set` and `unset` write a job's hash, and what most transitions look at is read at once.
local KNOWN, STATE = {}, false

local function look()
  local read = redis.call('HMGET', JOB, 'state', 'attempt', 'worker', 'claim', 'started_at_ms', 'ended_at_ms',
    'deadline_at_ms', 'progress', 'failure', 'result', 'last_call', 'verdict', 'version', 'event_count', 'place',
    'needs', 'attempts_forgiven', 'attempt_floor', 'shard', 'shards')
  KNOWN = {state = read[1], attempt = read[2], worker = read[3], claim = read[4], started_at_ms = read[5],
    ended_at_ms = read[6], deadline_at_ms = read[7], progress = read[8], failure = read[9], result = read[10],
    last_call = read[11], verdict = read[12], version = read[13], event_count = read[14], place = read[15],
    needs = read[16], attempts_forgiven = read[17], attempt_floor = read[18], shard = read[19], shards = read[20]}
  STATE = read[1]
end

if ID ~= '' then
  look()
end

-- For scripts that find the job themselves. Their first two keys end before its id.
local function open(id)
  ID, JOB, EVENTS, SHARDS = id, KEYS[1] .. id, KEYS[2] .. id, KEYS[1] .. id .. ':shards'
  look()
end

local function field(name)
  local value = KNOWN[name]
  if value == nil then
    value = redis.call('HGET', JOB, name)
    KNOWN[name] = value
  end
  return value
end

local function set(...)
  redis.call('HSET', JOB, ...)
  local written = {...}
  for i = 1, #written, 2 do
    KNOWN[written[i]] = written[i + 1]
  end
end

local function unset(...)
  redis.call('HDEL', JOB, ...)
  for _, name in ipairs({...}) do
    KNOWN[name] = false
  end
end

-- What `codec.MOVING` names, in its order.
local function moving()
  return {KNOWN.state, KNOWN.attempt, KNOWN.worker, KNOWN.claim, KNOWN.started_at_ms, KNOWN.ended_at_ms,
    KNOWN.deadline_at_ms, KNOWN.progress, KNOWN.failure, KNOWN.result}
end

-- What `codec.AS_SUBMITTED` names, in its order.
local function as_submitted()
  return redis.call('HMGET', JOB, 'spec', 'preflight', 'estimate', 'display_name', 'max_attempts', 'created_at_ms',
    'origin', 'shard')
end

local function answer()
  return {'OK', moving(), as_submitted()}
end

-- To who claimed the job, and so knows the rest of it.
local function answer_holder()
  return {'OK', moving()}
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

-- What is to be answered at once to the holder of a claim who says how its attempt ended: nothing is to be done where it
-- was said before, and nothing may be where the attempt is over. Nil otherwise.
local function settled(verdict, token)
  if not STATE then
    return refuse('NOT_FOUND')
  end
  if is_repeated() or field('verdict') == verdict then
    return answer_holder()
  end
  if not holds(token) then
    return refuse('FENCED')
  end
end

-- Of the job as it is now. Details: progress, metrics, failure.
local function event(sequence, kind, details)
  details = details or {}
  redis.call('XADD', EVENTS, sequence .. '-0',
    'kind', kind, 'time_ms', NOW, 'state', field('state'), 'attempt', field('attempt'),
    'progress', details.progress or '', 'metrics', details.metrics or '', 'failure', details.failure or '')
end

-- Writes fields of the job (name, value, ...), and then the event.
local function record(kind, details, ...)
  local sequence = (field('event_count') or 0) + 1
  set('event_count', sequence, ...)
  event(sequence, kind, details)
end

-- As `record`, where the archive has yet to write the job as it then is. The version tells its writers which of two
-- states is the later.
local function record_for_archive(kind, details, ...)
  local version = (field('version') or 0) + 1
  redis.call('HSET', UNSAVED, ID, version)
  record(kind, details, 'version', version, ...)
end


-- What a worker must offer, then how urgent, then how old: members sort by their letters, so the first member that
-- begins with some needs is the next job of those needs. Jobs that no worker may run are in nobody's way.
local function place_of(order)
  return string.format('%s|%s|%015d|%s', field('needs'), field('rank'), order, ID)
end

local function take_place(order)
  set('order', order, 'place', place_of(order))
end

local function join_line()
  redis.call('ZADD', LINE, 0, field('place'))
  redis.call('HINCRBY', NEEDS, field('needs'), 1)
end

local function leave_line()
  if redis.call('ZREM', LINE, field('place')) == 0 then
    redis.call('ZREM', DELAYED, field('place'))
  elseif redis.call('HINCRBY', NEEDS, field('needs'), -1) <= 0 then
    redis.call('HDEL', NEEDS, field('needs'))
  end
end

-- Does something with the names of a shard in the place of the job's own, behind which they go on.
local function at_shard(end_of_id, act)
  local id, job, events, known, state = ID, JOB, EVENTS, KNOWN, STATE
  ID, JOB, EVENTS = id .. end_of_id, job .. end_of_id, events .. end_of_id
  look()
  act()
  ID, JOB, EVENTS, KNOWN, STATE = id, job, events, known, state
end

-- Fields of a shard: less than `at_shard` reads.
local function fields_of_shard(end_of_id, ...)
  local job = JOB
  JOB = job .. end_of_id
  local read = redis.call('HMGET', JOB, ...)
  JOB = job
  return read
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
  unset('shards')
end

-- However an attempt ends.
local function release()
  give_up_lease()
  if field('shards') then
    drop_shards()
  end
end

-- The time that a person gave the job for all it has to do, from now on. Answers when that ends, if it does.
local function start_clock()
  local deadline_ms = tonumber(field('deadline_ms') or '0')
  if deadline_ms > 0 then
    set('deadline_at_ms', NOW + deadline_ms)
    redis.call('ZADD', DEADLINES, NOW + deadline_ms, ID)
    return NOW + deadline_ms
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

local function finish(state, failure, ...)
  release()
  if failure then
    set('failure', failure)
  elseif field('failure') then
    unset('failure')
  end
  if field('shard') then
    record('finished', {failure = failure}, 'state', state, 'ended_at_ms', NOW, ...)
    return
  end
  if field('deadline_at_ms') then
    redis.call('ZREM', DEADLINES, ID)
  end
  redis.call('ZADD', ENDED, NOW, ID)
  record_for_archive('finished', {failure = failure}, 'state', state, 'ended_at_ms', NOW, ...)
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
  local longest_ms = math.min(60000, delay_ms * 2 ^ (used - 1))
  local wait_ms = math.floor(longest_ms * (1 + chance) / 2)
  if wait_ms > 0 then
    redis.call('ZADD', DELAYED, NOW + wait_ms, field('place'))
  else
    join_line()
  end
  record('requeued', {failure = failure}, 'state', 'QUEUED', 'failure', failure)
end

-- At the end of the line, with every attempt to use again. The attempt goes on counting, for it is the fencing token.
local function queue_afresh()
  take_place(redis.call('INCR', ORDER))
  unset('ended_at_ms', 'progress')
  redis.call('ZREM', ENDED, ID)
  join_line()
  record_for_archive('queued', nil, 'state', 'QUEUED', 'attempts_forgiven', field('attempt'), 'last_call', CALL)
end
