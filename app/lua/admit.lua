-- Queues jobs that are not known yet, all or none of them, each with a deadline by Redis's clock.
-- KEYS: stream, then one "seen" key per job
-- ARGV: depth limit (0: none), reply stream, then id, timeout ms and encoded job per seen key
-- Returns {1 or 0 (refused), depth, how many were queued}
local stream, limit, reply_to = KEYS[1], tonumber(ARGV[1]), ARGV[2]
local SEEN_GRACE_MS = 60000 -- an API may admit again for this long after the deadline

local fresh = {}
for i = 2, #KEYS do
  if redis.call('EXISTS', KEYS[i]) == 0 then fresh[#fresh + 1] = i end
end
local depth = redis.call('XLEN', stream)
if limit > 0 and #fresh > 0 and depth + #fresh > limit then return {0, depth, 0} end

local now = redis.call('TIME')
local now_us = now[1] * 1000000 + now[2]
local now_ms = math.floor(now_us / 1000)
local admitted_us = string.format('%.0f', now_us)
local queued = 0
for _, i in ipairs(fresh) do
  local at = 3 * (i - 1)
  local job_id, timeout_ms, job = ARGV[at], tonumber(ARGV[at + 1]), ARGV[at + 2]
  if redis.call('SET', KEYS[i], '1', 'NX', 'PX', timeout_ms + SEEN_GRACE_MS) then
    redis.call('XADD', stream, '*', 'job', job, 'job_id', job_id,
      'deadline_ms', string.format('%.0f', now_ms + timeout_ms),
      'reply_to', reply_to, 'admitted_us', admitted_us)
    queued = queued + 1
  end
end
return {1, depth + queued, queued}
