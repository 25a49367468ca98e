-- Claims new entries without waiting, a bounded number over all streams.
-- KEYS: a stream for each read   ARGV: group, consumer, most in all, then the most of each read
-- Returns what XREADGROUP does, a stream once for each read that found something in it
local group, consumer, left = ARGV[1], ARGV[2], tonumber(ARGV[3])
local found, exhausted = {}, {}

for i, stream in ipairs(KEYS) do
  local most = math.min(left, tonumber(ARGV[3 + i]))
  if most > 0 and not exhausted[stream] then
    -- pcall: what was found before a stream or group that is gone must not get lost with it
    local read = redis.pcall('XREADGROUP', 'GROUP', group, consumer, 'COUNT', most,
      'STREAMS', stream, '>')
    if read and read.err and #found == 0 then return read end
    local entries = read and not read.err and read[1][2] or {}
    if #entries > 0 then found[#found + 1] = read[1] end
    exhausted[stream] = #entries < most
    left = left - #entries
  end
end
return found
