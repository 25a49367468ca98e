-- Ends an order that is not done: it was cancelled or has failed. Its files are deleted.
-- KEYS: order, drawn, files, kept, unfinished, ended, webhooks
-- ARGV: order id, state, detail, ttl ms
-- Returns the state before: '' (there is no such order), or it has ended already if not queued or
--         running
local order, id = KEYS[1], ARGV[1]
local state = redis.call('HGET', order, 'state')
if not state then return '' end
if state ~= 'queued' and state ~= 'running' then return state end
redis.call('DEL', KEYS[3]) -- needs no memory, so a full Redis accepts the writes that follow
redis.call('HDEL', KEYS[4], id)
redis.call('ZREM', KEYS[5], id)
local now = redis.call('TIME')
local now_ms = string.format('%.0f', math.floor(now[1] * 1000 + now[2] / 1000))
redis.call('HSET', order, 'state', ARGV[2], 'detail', ARGV[3], 'ended_ms', now_ms)
redis.call('PEXPIRE', order, ARGV[4])
redis.call('PEXPIRE', KEYS[2], ARGV[4])
redis.call('ZADD', KEYS[6], now_ms, id)
if redis.call('HEXISTS', order, 'webhook') == 1 then redis.call('ZADD', KEYS[7], 0, id) end
return state
