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

local function may_start()
  local due = redis.call('ZSCORE', LINE, field('place')) or redis.call('ZSCORE', DELAYED, field('place'))
  return due and tonumber(due) <= NOW
end

local taken, waiting, failure, scored, tried_again = nil, nil, '', 0, {}
for _, end_of_id in ipairs(ends_of_ids) do
  at_shard(end_of_id, function()
    -- The claim of a shard that the job took itself is the job's own token.
    local is_own = STATE == 'RUNNING' and field('claim') == token
    if is_own and end_of_id == done then
      record('finished', nil, 'state', 'SUCCEEDED', 'ended_at_ms', NOW)
      STATE = 'SUCCEEDED'
    elseif is_own then
      taken = end_of_id
    elseif STATE == 'QUEUED' and not waiting and may_start() then
      waiting = end_of_id
    elseif STATE == 'DEAD' or STATE == 'FAILED' then
      failure = cjson.encode({field('shard'), field('failure')})
    end
    if STATE == 'SUCCEEDED' then
      scored = scored + 1
      local attempts = field('attempt') - field('attempts_forgiven')
      if attempts > 1 then
        tried_again[#tried_again + 1] = field('shard')
        tried_again[#tried_again + 1] = attempts
      end
    end
  end)
end

local shard = ''
if not taken and waiting and failure == '' then
  taken = waiting
  at_shard(taken, function()
    leave_line()
    record('claimed', nil, 'state', 'RUNNING', 'worker', worker, 'claim', token, 'attempt', field('attempt') + 1,
      'started_at_ms', field('started_at_ms') or NOW)
  end)
end
if taken then
  at_shard(taken, function()
    shard = field('shard')
  end)
end
if scored == #ends_of_ids then
  drop_shards()
end
return {'OK', shard, failure, scored, #ends_of_ids, unpack(tried_again)}
