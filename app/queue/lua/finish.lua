-- Finishes pending jobs: acknowledges the entry, writes the reply, deletes the entry.
-- A job that was cancelled gets no reply; a job that is given up leaves a dead letter.
-- KEYS: launches, dead letters, then stream, reply stream, body key and "seen" key for each job
-- ARGV: group, most bytes inline, reply ttl ms, most dead letters, then entry id, job id,
--       reply head, reply body and the reason to give it up ('': none) for each job
-- Returns for each job 1, or 0 if its entry was no longer pending, or the time of its
--         cancellation (us)
local launches, dead_letters = KEYS[1], KEYS[2]
local group, inline_bytes, ttl_ms, most_letters = ARGV[1], tonumber(ARGV[2]), ARGV[3], ARGV[4]

local function bury(fields, job, why)
  local letter = {'job_id', job, 'why', why, 'launches', redis.call('HGET', launches, job) or '0'}
  for i = 1, #fields, 2 do
    if fields[i] == 'job' then letter[#letter + 1], letter[#letter + 2] = 'job', fields[i + 1] end
  end
  redis.call('XADD', dead_letters, 'MAXLEN', '~', most_letters, '*', unpack(letter))
end

-- XACK comes first for a second reason: Redis at its memory limit refuses a script's first
-- write if it needs memory, but never one in the middle, so that replies still get out.
local function finish(stream, replies, body_key, seen_key, entry, job, head, body, why)
  if redis.call('XACK', stream, group, entry) == 0 then return 0 end
  if why ~= '' then
    local found = redis.call('XRANGE', stream, entry, entry)[1]
    bury(found and found[2] or {}, job, why)
  end
  redis.call('XDEL', stream, entry)
  redis.call('HDEL', launches, job)
  local cancelled_us = string.match(redis.call('GET', seen_key) or '', '^cancelled (%d+)')
  if cancelled_us then return tonumber(cancelled_us) end
  if #body > inline_bytes then
    redis.call('SET', body_key, body, 'PX', ttl_ms)
    redis.call('XADD', replies, '*', 'head', head, 'body_key', body_key)
  else
    redis.call('XADD', replies, '*', 'head', head, 'body', body)
  end
  return 1
end

local results, replied = {}, {}
for i = 1, (#KEYS - 2) / 4 do
  local key, at = 4 * i - 1, 5 * i
  results[i] = finish(KEYS[key], KEYS[key + 1], KEYS[key + 2], KEYS[key + 3],
    ARGV[at], ARGV[at + 1], ARGV[at + 2], ARGV[at + 3], ARGV[at + 4])
  if results[i] == 1 then replied[KEYS[key + 1]] = true end
end
for replies in pairs(replied) do redis.call('PEXPIRE', replies, ttl_ms) end
return results
