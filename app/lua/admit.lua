-- Queues jobs that are not known yet, all or none of them, each with a deadline by Redis's clock.
-- KEYS: stream, then one "seen" key per job
-- ARGV: depth limit (0: none), timeout ms, reply stream, then one encoded job per seen key
-- Returns {1 or 0 (refused), depth}
local stream, limit, timeout_ms, reply_to = KEYS[1], tonumber(ARGV[1]), tonumber(ARGV[2]), ARGV[3]
local SEEN_GRACE_MS = 60000 -- an API may admit again for this long after the deadline

local fresh = {}
for i = 2, #KEYS do
  if redis.call('EXISTS', KEYS[i]) == 0 then fresh[#fresh + 1] = i end
end
local depth = redis.call('XLEN', stream)
if limit > 0 and #fresh > 0 and depth + #fresh > limit then return {0, depth} end

local now = redis.call('TIME')
local now_us = now[1] * 1000000 + now[2]
local deadline_ms = string.format('%.0f', math.floor(now_us / 1000) + timeout_ms)
local admitted_us = string.format('%.0f', now_us)
for _, i in ipairs(fresh) do
  if redis.call('SET', KEYS[i], '1', 'NX', 'PX', timeout_ms + SEEN_GRACE_MS) then
    redis.call('XADD', stream, '*', 'job', ARGV[i + 2], 'deadline_ms', deadline_ms,
      'reply_to', reply_to, 'admitted_us', admitted_us)
    depth = depth + 1
  end
end
return {1, depth}
