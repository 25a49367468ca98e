-- Drops files that a reader has received, to make room for others.
-- KEYS: files, read, kept   ARGV: order id, most chunks
-- Returns the bytes that became free
local files, read, kept = KEYS[1], KEYS[2], KEYS[3]
local freed = 0
for _, chunk in ipairs(redis.call('SPOP', read, ARGV[2])) do
  freed = freed + redis.call('HSTRLEN', files, chunk)
  redis.call('HDEL', files, chunk)
end
if freed > 0 then redis.call('HINCRBY', kept, ARGV[1], -freed) end
return freed
