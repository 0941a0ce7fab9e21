-- The next job ids that may start, first in line first. KEYS: queued, delayed. ARGV: how many.
local QUEUED, DELAYED = KEYS[1], KEYS[2]
local wanted, page = tonumber(ARGV[1]), 64

redis.call('ZREMRANGEBYSCORE', DELAYED, '-inf', NOW)
local found, start = {}, 0
while #found < wanted do
  local ids = redis.call('ZRANGE', QUEUED, start, start + page - 1)
  for _, id in ipairs(ids) do
    if #found < wanted and not redis.call('ZSCORE', DELAYED, id) then
      found[#found + 1] = id
    end
  end
  if #ids < page then
    break
  end
  start = start + page
end
return found
