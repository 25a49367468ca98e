-- Admits an order, unless too many wait already or its idempotency key was given away meanwhile.
-- KEYS: unfinished, order, idempotency key
-- ARGV: order id, most unfinished orders, ttl ms, encoded order, its number of images, what the
--       idempotency key must hold ('': there is no key) and what it holds afterwards, and the
--       webhook ('': none)
-- Returns {1: admitted, 0: too many, -1: the key is another's; number of unfinished orders}
local unfinished, order, key = KEYS[1], KEYS[2], KEYS[3]
local id, most, ttl_ms = ARGV[1], tonumber(ARGV[2]), ARGV[3]
local waiting = redis.call('ZCARD', unfinished)
if waiting >= most then return {0, waiting} end
if ARGV[6] ~= '' and redis.call('GET', key) ~= ARGV[6] then return {-1, waiting} end
local now = redis.call('TIME')
local now_us = now[1] * 1000000 + now[2]
redis.call('HSET', order, 'order', ARGV[4], 'state', 'queued', 'num_images', ARGV[5],
  'num_drawn', 0, 'admitted_ms', string.format('%.0f', math.floor(now_us / 1000)))
if ARGV[8] ~= '' then redis.call('HSET', order, 'webhook', ARGV[8]) end
redis.call('PEXPIRE', order, ttl_ms)
redis.call('ZADD', unfinished, string.format('%.0f', now_us), id)
if ARGV[6] ~= '' then redis.call('SET', key, ARGV[7], 'PX', ttl_ms) end
return {1, waiting + 1}
