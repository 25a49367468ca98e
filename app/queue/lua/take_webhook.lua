-- Takes the webhook that is due first; nobody else takes it for a while, unless it is removed.
-- KEYS: webhooks   ARGV: ms until another may take it   Returns the order id, or false
local now = redis.call('TIME')
local now_ms = math.floor(now[1] * 1000 + now[2] / 1000)
local due = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', now_ms, 'LIMIT', 0, 1)
if #due == 0 then return false end
redis.call('ZADD', KEYS[1], string.format('%.0f', now_ms + ARGV[1]), due[1])
return due[1]
