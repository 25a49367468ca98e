-- Claims new entries without waiting, up to a number over all streams.
-- KEYS: a stream for each read   ARGV: group, consumer, most entries in all, then of each read
-- Returns what XREADGROUP does, with a stream once for each read that found entries
local group, consumer, left = ARGV[1], ARGV[2], tonumber(ARGV[3])
local found, exhausted = {}, {}

for i, stream in ipairs(KEYS) do
  local most = math.min(left, tonumber(ARGV[3 + i]))
  if most > 0 and not exhausted[stream] then
    -- pcall: a missing stream or group must not discard the entries found before
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
