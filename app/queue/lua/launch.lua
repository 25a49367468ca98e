-- Decides before a forward pass which entries may run, and counts a launch of each of these.
-- Cancelled entries are removed.
-- KEYS: launches (hash: job id -> launches without a reply), then stream and "seen" key for each
-- ARGV: group, consumer, then for each entry: entry id, job id, deadline ms, and 0, or n if this
--       worker may have counted it as the nth launch in an earlier call
-- Returns {now in us, verdict...}: -2 cancelled, -1 no longer this worker's, 0 expired,
--         n its nth launch
local launches, group, consumer = KEYS[1], ARGV[1], ARGV[2]
local LAUNCHES_TTL_MS = 3600000
local now = redis.call('TIME')
local now_us = now[1] * 1000000 + now[2]

local function verdict(stream, seen_key, entry, job, deadline_ms, nth)
  -- pcall: after FLUSHALL there is no group, and no entry belongs to this worker
  local pending = redis.pcall('XPENDING', stream, group, entry, entry, 1, consumer)
  if pending.err or #pending == 0 then return -1 end
  if string.find(redis.call('GET', seen_key) or '', '^cancelled') then
    redis.call('XACK', stream, group, entry)
    redis.call('XDEL', stream, entry)
    redis.call('HDEL', launches, job)
    return -2
  end
  if now_us >= tonumber(deadline_ms) * 1000 then return 0 end
  -- pcall: a full Redis cannot count, but the job may run
  if nth == 0 then
    local count = redis.pcall('HINCRBY', launches, job, 1)
    return type(count) == 'number' and count or 1
  end
  local counted = tonumber(redis.call('HGET', launches, job) or 0)
  if counted < nth then redis.pcall('HSET', launches, job, nth) end
  return math.max(counted, nth)
end

local answer = {string.format('%.0f', now_us)}
for i = 1, (#KEYS - 1) / 2 do
  local at = 4 * i - 1
  answer[i + 1] = verdict(KEYS[2 * i], KEYS[2 * i + 1],
    ARGV[at], ARGV[at + 1], ARGV[at + 2], tonumber(ARGV[at + 3]))
end
redis.call('PEXPIRE', launches, LAUNCHES_TTL_MS)
return answer
