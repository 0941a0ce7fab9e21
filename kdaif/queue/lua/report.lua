-- Adds what a device saw during a rollout, once per request id. KEYS: rollout, report. ARGV: student, predictions, right,
-- total, 1 while the rollout goes on, seconds for which a request id is remembered, seconds for which the counts are.
-- Answers OVER for a new report on a rollout that is over, and TAKEN for a request id that came with other numbers.
local ROLLOUT, REPORT = KEYS[1], KEYS[2]
local body = table.concat({ARGV[1], ARGV[2], ARGV[3], ARGV[4]}, '|')

local known = redis.call('GET', REPORT)
if known and known ~= body then
  return {'TAKEN', {}}
end
if not known then
  if ARGV[5] ~= '1' then
    return {'OVER', {}}
  end
  redis.call('SET', REPORT, body, 'EX', ARGV[6])
  redis.call('HINCRBY', ROLLOUT, 'predictions:' .. ARGV[1], ARGV[2])
  redis.call('HINCRBY', ROLLOUT, 'right:' .. ARGV[1], ARGV[3])
  redis.call('HINCRBY', ROLLOUT, 'total:' .. ARGV[1], ARGV[4])
  redis.call('EXPIRE', ROLLOUT, ARGV[7])
end
return {'OK', redis.call('HGETALL', ROLLOUT)}
