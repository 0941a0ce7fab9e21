-- A running job cuts a scoring. Its shards are QUEUED in its own place in line, and are in no list and in no archive.
-- ARGV: id, call, token, number of the cut within the attempt, needs of a shard, its spec, what the check of its data
-- found, then the end of each id and its shard. Those that are there already stay as they are.
if not STATE then
  return refuse('NOT_FOUND')
end
if not holds(ARGV[3]) then
  return refuse('FENCED')
end
-- Cuts of all attempts in their order, to tell a call that was sent again from one that comes when its shards are over.
local cut = field('attempt') * 1048576 + ARGV[4]
if STATE == 'CANCELLING' or cut <= tonumber(field('cuts_over') or 0) then
  return {'OK'}
end
local rank, order = field('rank'), tonumber(field('order'))
local as_the_job = {}
for _, name in ipairs({'display_name', 'max_attempts', 'origin'}) do
  if field(name) then
    as_the_job[#as_the_job + 1] = name
    as_the_job[#as_the_job + 1] = field(name)
  end
end

for i = 8, #ARGV, 2 do
  if redis.call('SADD', SHARDS, ARGV[i]) == 1 then
    at_shard(ARGV[i], function()
      set('shard', ARGV[i + 1], 'needs', ARGV[5], 'spec', ARGV[6], 'preflight', ARGV[7], 'rank', rank, 'state', 'QUEUED',
        'attempt', 0, 'attempts_forgiven', 0, 'created_at_ms', NOW, unpack(as_the_job))
      take_place(order)
      join_line()
      record('queued')
    end)
  end
end
set('shards', redis.call('SCARD', SHARDS), 'cut', cut)
return {'OK'}
