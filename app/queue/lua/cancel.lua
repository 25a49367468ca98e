-- Cancels jobs whose client has disconnected. No worker launches them after this, even if they are
-- admitted later: the "seen" key keeps the mark, and the admission looks there.
-- KEYS: stream and "seen" key for each job   ARGV: group, ttl ms of the mark of an unknown job
-- Returns how many were removed before a worker had claimed them
local group, ttl_ms = ARGV[1], tonumber(ARGV[2])
local now = redis.call('TIME')
local mark = 'cancelled ' .. string.format('%.0f', now[1] * 1000000 + now[2])

local function cancel(stream, key)
  local entry = redis.call('GET', key)
  if entry and string.find(entry, '^cancelled') then return 0 end
  local left_ms = redis.call('PTTL', key)
  redis.call('DEL', key) -- needs no memory, so a full Redis accepts the writes that follow
  redis.call('SET', key, mark, 'PX', left_ms > 0 and left_ms or ttl_ms)
  if not entry then return 0 end
  -- pcall: without a group, no worker has claimed it
  local pending = redis.pcall('XPENDING', stream, group, entry, entry, 1)
  if not pending.err and #pending > 0 then return 0 end -- its worker drops it at the launch
  return redis.call('XDEL', stream, entry)
end

local removed = 0
for i = 1, #KEYS, 2 do removed = removed + cancel(KEYS[i], KEYS[i + 1]) end
return removed
