-- Second part of every script that moves a job: names for its keys, and the steps that several transitions share.
-- ARGV[1] is the job id; ARGV[2] names this call, so that a call repeated after a lost reply changes nothing.
local JOB, EVENTS, QUEUED, DELAYED, LEASES, EXTENDED, ORDER =
  KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6], KEYS[7]
local ID, CALL = ARGV[1], ARGV[2]

local function field(name)
  return redis.call('HGET', JOB, name)
end

local STATE = field('state')

local function set(...)
  redis.call('HSET', JOB, ...)
end

local function answer()
  return {'OK', redis.call('HGETALL', JOB)}
end

local function refuse(code)
  return {code, STATE or '', field('attempt') or ''}
end

local function is_repeated()
  return field('last_call') == CALL
end

local function holds(token)
  return (STATE == 'RUNNING' or STATE == 'CANCELLING') and field('attempt') == token
end

local function record(kind, details)
  details = details or {}
  local sequence = redis.call('HINCRBY', JOB, 'event_count', 1)
  redis.call('XADD', EVENTS, string.format('%d-0', sequence),
    'kind', kind, 'time_ms', NOW, 'state', field('state'), 'attempt', field('attempt'),
    'progress', details.progress or '', 'metrics', details.metrics or '', 'failure', details.failure or '')
end

local function release()
  redis.call('ZREM', LEASES, ID)
  redis.call('SREM', EXTENDED, ID)
end

local function leave_line()
  redis.call('ZREM', QUEUED, ID)
  redis.call('ZREM', DELAYED, ID)
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
end

-- Back to its old place in the line, but not before a delay that doubles with each attempt: a job that kills its worker
-- must not keep all workers busy dying.
local function requeue_or_bury(failure, delay_ms)
  local used = field('attempt') - field('attempts_forgiven')
  if used >= tonumber(field('max_attempts')) then
    finish('DEAD', failure)
    return
  end
  release()
  set('state', 'QUEUED', 'failure', failure)
  redis.call('ZADD', QUEUED, field('order'), ID)
  redis.call('ZADD', DELAYED, NOW + math.min(60000, delay_ms * 2 ^ (used - 1)), ID)
  record('requeued', {failure = failure})
end
