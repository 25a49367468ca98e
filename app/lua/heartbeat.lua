-- Tells that a worker lives and which models it serves, by Redis's clock.
-- KEYS: workers, cards, last seen, then one renderer key per model
-- ARGV: worker id, worker status, forget-after ms, renderer ttl ms, renderer,
--       then fingerprint, card for each model
-- Returns a fingerprint whose recorded renderer is another one, or '' when all agree
local now = redis.call('TIME')
local now_ms = now[1] * 1000 + math.floor(now[2] / 1000)
local worker, status, forget_ms, ttl_ms, renderer = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5]

for i = 6, #ARGV, 2 do
  local key, fingerprint = KEYS[4 + (i - 6) / 2], ARGV[i]
  redis.call('SET', key, renderer, 'NX', 'PX', ttl_ms)
  if redis.call('GET', key) ~= renderer then return fingerprint end
  redis.call('PEXPIRE', key, ttl_ms)
  redis.call('HSET', KEYS[2], fingerprint, ARGV[i + 1])
  redis.call('HSET', KEYS[3], fingerprint, string.format('%.0f', now_ms))
end

local stamp = string.format('%.0f', now_ms)
redis.call('HSET', KEYS[1], worker, stamp .. ' ' .. status)
local workers = redis.call('HGETALL', KEYS[1])
for i = 1, #workers, 2 do
  local seen_ms = tonumber(string.match(workers[i + 1], '^%d+'))
  if now_ms - seen_ms > tonumber(forget_ms) then redis.call('HDEL', KEYS[1], workers[i]) end
end
return ''
