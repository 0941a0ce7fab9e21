-- First part of every script. The clock is that of the server, so that hosts need not agree on the time.
local function now_ms()
  local time = redis.call('TIME')
  return time[1] * 1000 + math.floor(time[2] / 1000)
end

local NOW = now_ms()
