-- Takes or renews the lease of an order: only its holder draws it.
-- KEYS: unfinished, order   ARGV: order id, replica, lease ms
-- Returns 'held' (it is the caller's now), 'busy' (another replica's), or 'over'
local unfinished, order = KEYS[1], KEYS[2]
local id, replica, lease_ms = ARGV[1], ARGV[2], tonumber(ARGV[3])
local state = redis.call('HGET', order, 'state')
if state ~= 'queued' and state ~= 'running' then
  redis.call('ZREM', unfinished, id) -- it has expired
  return 'over'
end
local now = redis.call('TIME')
local now_ms = math.floor(now[1] * 1000 + now[2] / 1000)
local holder = redis.call('HGET', order, 'holder')
local until_ms = tonumber(redis.call('HGET', order, 'until_ms') or 0)
-- A time further ahead than a lease can be was written before the clock was set back.
local valid = until_ms > now_ms and until_ms <= now_ms + lease_ms
if holder and holder ~= replica and valid then return 'busy' end
redis.call('HSET', order, 'state', 'running', 'holder', replica,
  'until_ms', string.format('%.0f', now_ms + lease_ms))
return 'held'
