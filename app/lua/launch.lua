-- Asks, just before a forward pass, which entries may still run, and counts the launch of those.
-- KEYS: launches (hash: job id -> launches without an answer), then the stream of each entry
-- ARGV: group, consumer, then entry id, job id, deadline ms for each entry
-- Returns {now in us, verdict...}: -1 no longer this worker's, 0 expired, n its nth launch
local launches, group, consumer = KEYS[1], ARGV[1], ARGV[2]
local LAUNCHES_TTL_MS = 3600000
local now = redis.call('TIME')
local now_us = now[1] * 1000000 + now[2]

local function verdict(stream, entry, job, deadline_ms)
  -- pcall: after FLUSHALL there is no group, so nothing is this worker's any more
  local pending = redis.pcall('XPENDING', stream, group, entry, entry, 1, consumer)
  if pending.err or #pending == 0 then return -1 end
  if now_us >= tonumber(deadline_ms) * 1000 then return 0 end
  -- pcall: a Redis at its memory limit cannot count, but the job may run
  local count = redis.pcall('HINCRBY', launches, job, 1)
  return type(count) == 'number' and count or 1
end

local answer = {string.format('%.0f', now_us)}
for i = 2, #KEYS do
  local at = 3 * i - 3
  answer[i] = verdict(KEYS[i], ARGV[at], ARGV[at + 1], ARGV[at + 2])
end
redis.call('PEXPIRE', launches, LAUNCHES_TTL_MS)
return answer
