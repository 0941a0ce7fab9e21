-- The next job ids that a worker may start, the most urgent first and then the oldest. KEYS: line, delayed, needs.
-- ARGV: how many, GPUs of the worker, its labels, ... Costs one look per different needs, never one per job.
local LINE, DELAYED, NEEDS = KEYS[1], KEYS[2], KEYS[3]
local wanted, gpus, most_promoted = tonumber(ARGV[1]), tonumber(ARGV[2]), 256

local offered = {}
for i = 3, #ARGV do
  offered[ARGV[i]] = true
end

local function fits(needs)
  local wanted_gpus, labels = string.match(needs, '^(%d+);(.*)$')
  if tonumber(wanted_gpus) > gpus then
    return false
  end
  for label in string.gmatch(labels, '[^,]+') do
    if not offered[label] then
      return false
    end
  end
  return true
end

-- A bounded number at a time; the next claim goes on with the rest.
for _, place in ipairs(redis.call('ZRANGEBYSCORE', DELAYED, '-inf', NOW, 'LIMIT', 0, most_promoted)) do
  redis.call('ZREM', DELAYED, place)
  redis.call('ZADD', LINE, 0, place)
  redis.call('HINCRBY', NEEDS, string.match(place, '^[^|]*'), 1)
end

local found = {}
for _, needs in ipairs(redis.call('HKEYS', NEEDS)) do
  if fits(needs) then
    -- '}' is the character after '|', so this is every member that begins with the needs.
    for _, place in ipairs(redis.call('ZRANGEBYLEX', LINE, '[' .. needs .. '|', '(' .. needs .. '}', 'LIMIT', 0, wanted)) do
      found[#found + 1] = string.sub(place, #needs + 2)
    end
  end
end
table.sort(found)
local ids = {}
for i = 1, math.min(wanted, #found) do
  ids[i] = string.match(found[i], '[^|]*$')
end
return ids
