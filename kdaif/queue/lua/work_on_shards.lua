-- What a running job is to do while its shards are scored: it takes those that nobody has, one at a time, under its own
-- lease, so that it never only waits for workers that may be waiting too.
-- ARGV: id, call, token, worker, the end of the id of the shard that the job itself has scored, or ''.
-- Answers {'OK', shard to score or '', failure of one that is over without scores or '', how many are scored, how many
-- there are, shard and attempts of each that took several, ...}. Once all are scored they are gone.
if not STATE then
  return refuse('NOT_FOUND')
end
if not holds(ARGV[3]) then
  return refuse('FENCED')
end
local token, worker, done = ARGV[3], ARGV[4], ARGV[5]
local ends_of_ids = redis.call('SMEMBERS', SHARDS)
table.sort(ends_of_ids)

local function may_start(end_of_id)
  local place = fields_of_shard(end_of_id, 'place')[1]
  local due = redis.call('ZSCORE', LINE, place) or redis.call('ZSCORE', DELAYED, place)
  return due and tonumber(due) <= NOW
end

local taken, waiting, failure, scored, tried_again = nil, nil, '', 0, {}
for _, end_of_id in ipairs(ends_of_ids) do
  -- No more of each than this: there may be a thousand, and their job asks several times a second.
  local state, claim, attempt, forgiven =
    unpack(fields_of_shard(end_of_id, 'state', 'claim', 'attempt', 'attempts_forgiven'))
  -- The claim of a shard that the job took itself is the job's own token.
  local is_own = state == 'RUNNING' and claim == token
  if is_own and end_of_id == done then
    at_shard(end_of_id, function()
      record('finished', nil, 'state', 'SUCCEEDED', 'ended_at_ms', NOW)
    end)
    state = 'SUCCEEDED'
  elseif is_own then
    taken = end_of_id
  elseif state == 'QUEUED' and not waiting and may_start(end_of_id) then
    waiting = end_of_id
  elseif state == 'DEAD' or state == 'FAILED' then
    failure = cjson.encode(fields_of_shard(end_of_id, 'shard', 'failure'))
  end
  if state == 'SUCCEEDED' then
    scored = scored + 1
    if attempt - forgiven > 1 then
      tried_again[#tried_again + 1] = fields_of_shard(end_of_id, 'shard')[1]
      tried_again[#tried_again + 1] = attempt - forgiven
    end
  end
end

local to_score = ''
if not taken and waiting and failure == '' then
  taken = waiting
  at_shard(taken, function()
    leave_line()
    record('claimed', nil, 'state', 'RUNNING', 'worker', worker, 'claim', token, 'attempt', field('attempt') + 1,
      'started_at_ms', field('started_at_ms') or NOW)
  end)
end
if taken then
  to_score = fields_of_shard(taken, 'shard')[1]
end
if scored == #ends_of_ids then
  drop_shards()
  -- So that a call of `submit_shards` that comes late does not queue them again.
  set('cuts_over', field('cut') or 0)
end
return {'OK', to_score, failure, scored, #ends_of_ids, unpack(tried_again)}
