-- Resets the idle time of a worker's pending entries, but claims none from another worker.
-- KEYS: stream   ARGV: group, consumer, entry ids
-- Returns how many still belong to this worker
local stream, group, consumer = KEYS[1], ARGV[1], ARGV[2]
local kept = 0
for i = 3, #ARGV do
  local pending = redis.pcall('XPENDING', stream, group, ARGV[i], ARGV[i], 1, consumer)
  if not pending.err and #pending > 0 then
    redis.call('XCLAIM', stream, group, consumer, 0, ARGV[i], 'JUSTID')
    kept = kept + 1
  end
end
return kept
