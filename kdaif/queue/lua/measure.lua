-- How a tenant's queue stands. Changes nothing. KEYS: line, delayed, needs, leases.
-- Answers {now, queued, delayed, running, {needs, queued, id, ...}, ...}; one of the ids is of the job of these needs that
-- has waited longest. Of each priority those are the first 16, for a job may have been given back to its old place.
local LINE, DELAYED, NEEDS, LEASES = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local looked_at = 16

local answer = {NOW, redis.call('ZCARD', LINE), redis.call('ZCARD', DELAYED), redis.call('ZCARD', LEASES)}
for _, needs in ipairs(redis.call('HKEYS', NEEDS)) do
  local found, from = {needs, tonumber(redis.call('HGET', NEEDS, needs))}, '[' .. needs .. '|'
  while true do
    -- '}' is the character after '|', so this ends behind the last member that begins with the needs.
    local places = redis.call('ZRANGEBYLEX', LINE, from, '(' .. needs .. '}', 'LIMIT', 0, looked_at)
    if #places == 0 then
      break
    end
    local prefix = needs .. '|' .. string.match(places[1], '^([^|]*)|', #needs + 2)
    for _, place in ipairs(places) do
      if string.sub(place, 1, #prefix + 1) == prefix .. '|' then
        found[#found + 1] = string.match(place, '[^|]*$')
      end
    end
    from = '(' .. prefix .. '}'
  end
  answer[#answer + 1] = found
end
return answer
