-- A job out of the archive. KEYS[13]: jobs, KEYS[14]: request, KEYS[15]: deleted. Answers KNOWN where it, or its request, is here.
-- ARGV: id, call, body digest, state, version floor, attempt, attempt floor, ended_at_ms or '', deadline_at_ms or '', field, value, ...
local JOBS, REQUEST, DELETED = KEYS[13], KEYS[14], KEYS[15]
local ended_at_ms, deadline_at_ms = ARGV[8], ARGV[9]

if STATE or redis.call('EXISTS', REQUEST) == 1 or redis.call('SISMEMBER', DELETED, ID) == 1 then
  return {'KNOWN'}
end
set(unpack(ARGV, 10))
set('state', ARGV[4], 'version', ARGV[5], 'attempt', ARGV[6], 'attempts_forgiven', ARGV[6], 'attempt_floor', ARGV[7],
  'last_call', CALL, 'body', ARGV[3])
take_place(redis.call('INCR', ORDER))
redis.call('HSET', REQUEST, 'job', ID, 'body', ARGV[3])
redis.call('ZADD', JOBS, 0, ID)
if ended_at_ms ~= '' then
  set('ended_at_ms', ended_at_ms)
  redis.call('ZADD', ENDED, ended_at_ms, ID)
elseif deadline_at_ms ~= '' then
  set('deadline_at_ms', deadline_at_ms)
  redis.call('ZADD', DEADLINES, deadline_at_ms, ID)
end
if ARGV[4] == 'QUEUED' then
  join_line()
end
-- The archive must learn where attempts now count on from, or the next rebuild would give out the same ones.
if ARGV[4] ~= 'SUCCEEDED' then
  record_for_archive('restored')
else
  record('restored')
end
return {'OK'}
