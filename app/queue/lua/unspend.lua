-- Ends a client's lease; returns the images of a refused request to its budget.
-- KEYS: budget, in flight   ARGV: lease, us to give back, the budget's period in us
local budget, leases, lease, back_us = KEYS[1], KEYS[2], ARGV[1], tonumber(ARGV[2])
local ended = redis.call('ZREM', leases, lease)
local full_us = tonumber(redis.call('GET', budget) or 0)
if back_us > 0 and full_us > 0 then
  local now = redis.call('TIME')
  full_us = math.min(full_us, now[1] * 1000000 + now[2] + tonumber(ARGV[3])) -- clock set back
  local left_ms = math.ceil((full_us - back_us) / 1000 - now[1] * 1000 - now[2] / 1000)
  if left_ms > 0 then
    redis.call('SET', budget, string.format('%.0f', full_us - back_us), 'PX', left_ms)
  else
    redis.call('DEL', budget)
  end
end
return ended
