-- Ends a client's lease; returns the images of a refused request to its budget, once.
-- KEYS: budget, in flight, spent, void
-- ARGV: lease, us to give back, the budget's period in us, and ms for which a spending that is not
--       found is void (0: it was made, so it cannot come later)
-- Returns 1 if images were given back
local budget, leases, spent, void = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local lease, back_us, void_ms = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[4])
local ended = redis.call('ZREM', leases, lease)
local recorded = back_us > 0 and redis.call('ZREM', spent, lease) or 0
if void_ms > 0 and ended == 0 and recorded == 0 then redis.call('SET', void, 1, 'PX', void_ms) end
local full_us = tonumber(redis.call('GET', budget) or 0)
if recorded == 0 or full_us == 0 then return recorded end

local now = redis.call('TIME')
full_us = math.min(full_us, now[1] * 1000000 + now[2] + tonumber(ARGV[3])) -- clock set back
local left_ms = math.ceil((full_us - back_us) / 1000 - now[1] * 1000 - now[2] / 1000)
if left_ms > 0 then
  redis.call('SET', budget, string.format('%.0f', full_us - back_us), 'PX', left_ms)
else
  redis.call('DEL', budget)
end
return 1
