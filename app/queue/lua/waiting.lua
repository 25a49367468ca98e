-- Looks for jobs that no other live worker holds, without claiming any.
-- KEYS: streams   ARGV: group, consumer, ms after which a silent worker's jobs are free
-- Returns for each stream {jobs in it, age in ms of the oldest job that waits, or -1 if none does}.
-- A job waits if no worker has claimed it, if the worker that claimed it is silent, or if `consumer`
-- claimed it: of a model that is not in its memory, this was its predecessor.
local group, consumer, idle_ms = ARGV[1], ARGV[2], ARGV[3]
local now = redis.call('TIME')
local now_ms = now[1] * 1000 + math.floor(now[2] / 1000)

local function oldest(stream)
  -- pcall: a stream without the group has no pending entries
  local pending = redis.pcall('XPENDING', stream, group)
  if pending.err then return redis.call('XRANGE', stream, '-', '+', 'COUNT', 1) end
  if pending[1] > 0 then
    local own = redis.call('XPENDING', stream, group, '-', '+', 1, consumer)
    local free = redis.call('XPENDING', stream, group, 'IDLE', idle_ms, '-', '+', 1)
    local left = own[1] or free[1]
    if left then return {{left[1]}} end
  end
  if redis.call('XLEN', stream) <= pending[1] then return {} end
  for _, fields in ipairs(redis.call('XINFO', 'GROUPS', stream)) do
    local named = {}
    for i = 1, #fields, 2 do named[fields[i]] = fields[i + 1] end
    if named['name'] == group then
      return redis.call('XRANGE', stream, '(' .. named['last-delivered-id'], '+', 'COUNT', 1)
    end
  end
  return {}
end

local answer = {}
for i, stream in ipairs(KEYS) do
  local length, age_ms = redis.call('XLEN', stream), -1
  if length > 0 then
    local found = oldest(stream)
    if found[1] then
      age_ms = math.max(0, now_ms - tonumber(string.match(found[1][1], '^%d+')))
    end
  end
  answer[i] = {length, age_ms}
end
return answer
