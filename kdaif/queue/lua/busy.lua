-- Part of the scripts that give a tenant work, or announce some.
-- A tenant counts as busy for `at_least_ms` more; where it does not, it is made so for `made_ms`. Before it gets work!
local function make_busy(BUSY, tenant, at_least_ms, made_ms)
  -- No write for each of many submissions.
  local until_ms = redis.call('ZSCORE', BUSY, tenant)
  if until_ms and tonumber(until_ms) >= NOW + tonumber(at_least_ms) then
    return 0
  end
  return redis.call('ZADD', BUSY, NOW + tonumber(made_ms), tenant)
end
