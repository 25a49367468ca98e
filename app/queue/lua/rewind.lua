-- Bounds when pending entries were delivered: after Redis's clock was set back this lies in the
-- future, and the entries of a dead worker would never count as idle. They stay its entries.
-- KEYS: stream   ARGV: group, most entries
-- Returns how many had an idle time of 0, which is how Redis shows a time of the future
local stream, group = KEYS[1], ARGV[1]
local pending = redis.pcall('XPENDING', stream, group, '-', '+', ARGV[2])
if pending.err then return 0 end
local bounded = 0
for _, entry in ipairs(pending) do
  local id, consumer, idle_ms = entry[1], entry[2], entry[3]
  if idle_ms == 0 then
    redis.call('XCLAIM', stream, group, consumer, 0, id, 'IDLE', 0, 'JUSTID')
    bounded = bounded + 1
  end
end
return bounded
