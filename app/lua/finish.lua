-- Answers a job, if nobody has: acknowledges its entry, writes the reply, deletes the entry.
-- KEYS: stream, reply stream, body key, launches
-- ARGV: group, entry id, job id, reply head, reply body, most bytes inline, reply ttl ms
-- Returns 1, or 0 when the entry was no longer pending
local stream, replies, body_key, launches = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local head, body, ttl_ms = ARGV[4], ARGV[5], ARGV[7]

-- XACK comes first for a second reason: Redis at its memory limit refuses a script's first
-- write if it needs memory, but never one in the middle, so that replies still get out.
if redis.call('XACK', stream, ARGV[1], ARGV[2]) == 0 then return 0 end
redis.call('XDEL', stream, ARGV[2])
redis.call('HDEL', launches, ARGV[3])
if #body > tonumber(ARGV[6]) then
  redis.call('SET', body_key, body, 'PX', ttl_ms)
  redis.call('XADD', replies, '*', 'head', head, 'body_key', body_key)
else
  redis.call('XADD', replies, '*', 'head', head, 'body', body)
end
redis.call('PEXPIRE', replies, ttl_ms)
return 1
