-- Tells that a worker lives and which models it serves, by Redis's clock.
-- KEYS: workers, cards, last seen, then one renderer key per model
-- ARGV: worker id, worker status, forget-after ms, renderer ttl ms,
--       then fingerprint, renderer, card for each model
-- Returns a fingerprint whose recorded renderer is another one, or '' when all agree
local now = redis.call('TIME')
local now_ms = now[1] * 1000 + math.floor(now[2] / 1000)
local worker, status, forget_ms, ttl_ms = ARGV[1], ARGV[2], ARGV[3], ARGV[4]

-- Redis at its memory limit refuses a script's first write if it needs memory, but never a later
-- one: a write that needs none comes first, so that a full queue does not make its workers look dead.
redis.call('HDEL', KEYS[1], worker)
for i = 5, #ARGV, 3 do
  local key, fingerprint, renderer = KEYS[4 + (i - 5) / 3], ARGV[i], ARGV[i + 1]
  redis.call('SET', key, renderer, 'NX', 'PX', ttl_ms)
  if redis.call('GET', key) ~= renderer then return fingerprint end
  redis.call('PEXPIRE', key, ttl_ms)
  redis.call('HSET', KEYS[2], fingerprint, ARGV[i + 2])
  redis.call('HSET', KEYS[3], fingerprint, string.format('%.0f', now_ms))
end

local stamp = string.format('%.0f', now_ms)
redis.call('HSET', KEYS[1], worker, stamp .. ' ' .. status)
local workers = redis.call('HGETALL', KEYS[1])
for i = 1, #workers, 2 do
  local seen_ms = tonumber(string.match(workers[i + 1], '^%d+'))
  if not seen_ms or now_ms - seen_ms > tonumber(forget_ms) then
    redis.call('HDEL', KEYS[1], workers[i])
  end
end
return ''
