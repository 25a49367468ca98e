-- Registers a worker as alive, with the models that it serves, by Redis's clock.
-- KEYS: workers, cards, last seen, then one renderer key per model
-- ARGV: worker id, worker status, ms after which a worker is forgotten, renderer ttl ms,
--       ms after which a model is forgotten, the start of the job streams' names,
--       then fingerprint, renderer, card for each model
-- A time of the future, since Redis's clock was set back, is bounded: it would hold for that long.
-- Returns a fingerprint with another recorded renderer, or '' if there is none
local now = redis.call('TIME')
local now_ms = now[1] * 1000 + math.floor(now[2] / 1000)
local worker, status, forget_ms, ttl_ms = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local forget_model_ms, streams = tonumber(ARGV[5]), ARGV[6]

-- Redis at its memory limit refuses a script's first write if it needs memory, but never a later
-- one: a write that needs none comes first, so that workers of a full queue do not look dead.
redis.call('HDEL', KEYS[1], worker)
for i = 7, #ARGV, 3 do
  local key, fingerprint, renderer = KEYS[4 + (i - 7) / 3], ARGV[i], ARGV[i + 1]
  if redis.call('PTTL', key) > tonumber(ttl_ms) then redis.call('PEXPIRE', key, ttl_ms) end
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
  if not seen_ms or math.abs(now_ms - seen_ms) > tonumber(forget_ms) then
    redis.call('HDEL', KEYS[1], workers[i])
  end
end

local function forget(fingerprint)
  redis.call('HDEL', KEYS[2], fingerprint)
  redis.call('HDEL', KEYS[3], fingerprint)
  for _, priority in ipairs({'interactive', 'bulk'}) do
    local stream = streams .. fingerprint .. ':' .. priority -- of the same hash tag as all keys
    if redis.call('XLEN', stream) == 0 then redis.call('DEL', stream) end
  end
end

local seen = redis.call('HGETALL', KEYS[3])
for i = 1, #seen, 2 do
  local seen_ms = tonumber(seen[i + 1])
  if not seen_ms or now_ms - seen_ms > forget_model_ms then
    forget(seen[i])
  elseif seen_ms > now_ms then
    redis.call('HSET', KEYS[3], seen[i], string.format('%.0f', now_ms))
  end
end
return ''
