-- Queues jobs whose ids are new, each with a deadline by Redis's clock. A group has the jobs of one
-- request: all of them are queued or none.
-- KEYS: stream, then one "seen" key per job
-- ARGV: depth limit (0: none), reply stream, then for each group its number of jobs, and for each
--       of these id, timeout ms and encoded job
-- Returns {1 or 0 (refused), depth, number of jobs queued} for each group
local stream, limit, reply_to = KEYS[1], tonumber(ARGV[1]), ARGV[2]
local SEEN_GRACE_MS = 60000 -- how long after its deadline a job may be admitted again

local now = redis.call('TIME')
local now_us = now[1] * 1000000 + now[2]
local now_ms = math.floor(now_us / 1000)
local admitted_us = string.format('%.0f', now_us)
local depth = redis.call('XLEN', stream)

local function is_refused(first_key, num_jobs)
  if limit == 0 or depth + num_jobs <= limit then return false end
  local fresh = num_jobs
  for i = first_key, first_key + num_jobs - 1 do fresh = fresh - redis.call('EXISTS', KEYS[i]) end
  return fresh > 0 and depth + fresh > limit
end

local function queue(key, at)
  local job_id, timeout_ms, job = ARGV[at], tonumber(ARGV[at + 1]), ARGV[at + 2]
  if redis.call('EXISTS', key) == 1 then return 0 end
  local entry = redis.call('XADD', stream, '*', 'job', job, 'job_id', job_id,
    'deadline_ms', string.format('%.0f', now_ms + timeout_ms),
    'reply_to', reply_to, 'admitted_us', admitted_us)
  redis.call('SET', key, entry, 'PX', timeout_ms + SEEN_GRACE_MS)
  return 1
end

local answers, key, at = {}, 2, 3
while at <= #ARGV do
  local num_jobs, queued = tonumber(ARGV[at]), 0
  local refused = is_refused(key, num_jobs)
  for i = 0, num_jobs - 1 do
    if not refused then queued = queued + queue(KEYS[key + i], at + 1 + 3 * i) end
  end
  depth = depth + queued
  answers[#answers + 1] = {refused and 0 or 1, depth, queued}
  key, at = key + num_jobs, at + 1 + 3 * num_jobs
end
return answers
