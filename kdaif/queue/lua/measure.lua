-- How a tenant's queue stands. Changes nothing. KEYS: line, delayed, needs, leases. ARGV: prefix of the keys of events.
-- Answers {queued, delayed, running, {needs, queued, milliseconds that the oldest has waited}, ...}. Costs a look at 16 jobs per needs and priority:
-- of those the first is the oldest, unless it was given back to its old place meanwhile.
local LINE, DELAYED, NEEDS, LEASES = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local looked_at = 16

local function since(place)
  local last = redis.call('XREVRANGE', ARGV[1] .. string.match(place, '[^|]*$'), '+', '-', 'COUNT', 1)[1]
  if not last then
    return NOW
  end
  for i = 1, #last[2], 2 do
    if last[2][i] == 'time_ms' then
      return tonumber(last[2][i + 1])
    end
  end
end

local answer = {redis.call('ZCARD', LINE), redis.call('ZCARD', DELAYED), redis.call('ZCARD', LEASES)}
for _, needs in ipairs(redis.call('HKEYS', NEEDS)) do
  local oldest, from, past = NOW, '[' .. needs .. '|', '(' .. needs .. '}'
  while true do
    local places = redis.call('ZRANGEBYLEX', LINE, from, past, 'LIMIT', 0, looked_at)
    if #places == 0 then
      break
    end
    -- '}' is the character after '|': on from the last job of this priority.
    local rank = string.match(places[1], '^([^|]*)|', #needs + 2)
    local prefix = needs .. '|' .. rank .. '|'
    for _, place in ipairs(places) do
      if string.sub(place, 1, #prefix) == prefix then
        oldest = math.min(oldest, since(place))
      end
    end
    from = '(' .. needs .. '|' .. rank .. '}'
  end
  answer[#answer + 1] = {needs, tonumber(redis.call('HGET', NEEDS, needs)), NOW - oldest}
end
return answer
