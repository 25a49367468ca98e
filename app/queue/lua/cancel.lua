-- Takes back jobs that nobody waits for any more. Whatever order this and their admission come in,
-- none is launched after it: the mark stays where the admission looks whether a job is known.
-- KEYS: stream and "seen" key for each job   ARGV: group, ttl ms of a job that is not known yet
-- Returns how many were removed before a worker had read them
local group, ttl_ms = ARGV[1], tonumber(ARGV[2])
local now = redis.call('TIME')
local mark = 'cancelled ' .. string.format('%.0f', now[1] * 1000000 + now[2])

local function cancel(stream, key)
  local entry = redis.call('GET', key)
  if entry and string.find(entry, '^cancelled') then return 0 end
  local left_ms = redis.call('PTTL', key)
  redis.call('DEL', key) -- needs no memory, so that a full Redis does not refuse the rest
  redis.call('SET', key, mark, 'PX', left_ms > 0 and left_ms or ttl_ms)
  if not entry then return 0 end
  -- pcall: without a group nobody has read it
  local pending = redis.pcall('XPENDING', stream, group, entry, entry, 1)
  if not pending.err and #pending > 0 then return 0 end -- its worker drops it at the launch
  return redis.call('XDEL', stream, entry)
end

local removed = 0
for i = 1, #KEYS, 2 do removed = removed + cancel(KEYS[i], KEYS[i + 1]) end
return removed
