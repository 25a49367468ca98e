-- Keeps the drawn files of one chunk of an order, once; the last chunk ends the order.
-- KEYS: order, drawn, files, kept, unfinished, ended, webhooks
-- ARGV: order id, chunk, its number of images, its files, most bytes of all orders, 1 if
--       it is kept beyond this bound, because a reader waits for it, images per second, ttl ms
-- Returns 'stored', 'known' (it was drawn before), 'done' (it was the last one), 'full', or 'over'
--         (the order has ended)
local order, drawn, files, kept = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local id, chunk, num_images, body = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local most, beyond, ttl_ms = tonumber(ARGV[5]), ARGV[6] == '1', ARGV[8]
if redis.call('HGET', order, 'state') ~= 'running' then return 'over' end
if redis.call('GETBIT', drawn, chunk) == 1 then return 'known' end
if not beyond then
  local bytes = #body
  for _, one in ipairs(redis.call('HVALS', kept)) do bytes = bytes + tonumber(one) end
  if bytes > most then return 'full' end
end
redis.call('HSET', files, chunk, body)
redis.call('HINCRBY', kept, id, #body)
redis.call('SETBIT', drawn, chunk, 1)
local total = redis.call('HINCRBY', order, 'num_drawn', num_images)
redis.call('HSET', order, 'images_per_s', ARGV[7])
local left_ms = redis.call('PTTL', order)
local done = total >= tonumber(redis.call('HGET', order, 'num_images'))
if done then
  local now = redis.call('TIME')
  local now_ms = string.format('%.0f', math.floor(now[1] * 1000 + now[2] / 1000))
  left_ms = ttl_ms
  redis.call('HSET', order, 'state', 'done', 'ended_ms', now_ms)
  redis.call('ZREM', KEYS[5], id)
  redis.call('ZADD', KEYS[6], now_ms, id)
  if redis.call('HEXISTS', order, 'webhook') == 1 then redis.call('ZADD', KEYS[7], 0, id) end
  redis.call('PEXPIRE', order, left_ms)
end
redis.call('PEXPIRE', files, left_ms)
redis.call('PEXPIRE', drawn, left_ms)
return done and 'done' or 'stored'
