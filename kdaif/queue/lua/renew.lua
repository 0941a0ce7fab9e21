-- RUNNING and CANCELLING stay. ARGV: id, call, token, lease_ms.
-- A lease that ran out but was not reaped is renewed too: nobody else has the job, and its work is kept.
if not STATE then
  return refuse('NOT_FOUND')
end
if not holds(ARGV[3]) then
  return refuse('FENCED')
end
redis.call('ZADD', LEASES, NOW + tonumber(ARGV[4]), ID)
redis.call('SREM', EXTENDED, ID)
return {'OK', STATE}
