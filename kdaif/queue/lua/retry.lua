-- FAILED, DEAD, CANCELLED -> QUEUED, at the end of the line. ARGV: id, call.
-- The attempt goes on counting, for it is the fencing token; what was used so far is forgiven.
if not STATE then
  return refuse('NOT_FOUND')
end
if is_repeated() then
  return answer()
end
if STATE ~= 'FAILED' and STATE ~= 'DEAD' and STATE ~= 'CANCELLED' then
  return refuse('WRONG_STATE')
end
local order = redis.call('INCR', ORDER)
set('state', 'QUEUED', 'attempts_forgiven', field('attempt'), 'order', order, 'last_call', CALL)
redis.call('HDEL', JOB, 'ended_at_ms', 'progress')
redis.call('ZADD', QUEUED, order, ID)
record('queued')
return answer()
