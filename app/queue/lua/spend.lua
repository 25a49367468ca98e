-- Spends images of a client's budget, which refills evenly (the generic cell rate algorithm), and
-- counts them as in flight; or refuses and changes nothing. Each spending is recorded for a while, so
-- that it can be given back, and only once.
-- KEYS: budget (when it will be full again, in us), in flight (expiry in ms by lease), spent (expiry
--       in ms by lease), void (exists if the caller has given up this spending)
-- ARGV: images, most images of the budget (0: no rate limit), its period in us, most images in
--       flight (0: no bound), lease, its ms, the longest lease in ms, ms of the record
-- Redis's clock may be set back: a time that lies further ahead than any could be is not believed.
-- Returns {1 or 0, images left in the budget, us until it is full, us to wait for, in flight}
local MAX_RECORDS = 1000 -- of one client
local STEP_US = 1000000 -- a clock that is corrected by so little gives no spent budget back
local budget, leases, spent, images = KEYS[1], KEYS[2], KEYS[3], tonumber(ARGV[1])
local most, period_us, most_in_flight = tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local now = redis.call('TIME')
local now_us = now[1] * 1000000 + now[2]
local now_ms = math.floor(now_us / 1000)

local function record(lease, record_ms)
  redis.call('ZREMRANGEBYSCORE', spent, '-inf', now_ms)
  redis.call('ZREMRANGEBYSCORE', spent, '(' .. now_ms + record_ms, '+inf')
  redis.call('ZADD', spent, now_ms + record_ms, lease)
  redis.call('ZREMRANGEBYRANK', spent, 0, -MAX_RECORDS - 1)
  redis.call('PEXPIRE', spent, record_ms)
end

local function in_flight()
  redis.call('ZREMRANGEBYSCORE', leases, '-inf', now_ms)
  redis.call('ZREMRANGEBYSCORE', leases, '(' .. now_ms + math.max(ARGV[6], ARGV[7]), '+inf')
  local sum = 0
  for _, lease in ipairs(redis.call('ZRANGE', leases, 0, -1)) do
    sum = sum + tonumber(string.match(lease, '^%d+'))
  end
  return sum
end

local full_us, image_us, wait_us, flying = now_us, 0, 0, 0
if most > 0 then
  image_us = period_us / most
  full_us = math.max(now_us, tonumber(redis.call('GET', budget) or 0))
  local ahead_us = full_us - now_us - period_us
  if ahead_us > STEP_US then -- what is left is unknown: nobody waits for a clock
    full_us = now_us
  elseif ahead_us > 0 then -- stored, or it would be bounded anew at each request
    full_us = now_us + period_us
    redis.call('SET', budget, string.format('%.0f', full_us), 'PX', math.ceil(period_us / 1000))
  end
  wait_us = math.max(0, full_us + images * image_us - period_us - now_us)
end
if most_in_flight > 0 then flying = in_flight() end

local void = redis.call('EXISTS', KEYS[4]) == 1
local admitted = not void and wait_us < 1 and (most_in_flight == 0 or flying + images <= most_in_flight)
if admitted then
  if most > 0 then
    full_us = full_us + images * image_us
    redis.call('SET', budget, string.format('%.0f', full_us),
      'PX', math.ceil((full_us - now_us) / 1000))
    record(ARGV[5], tonumber(ARGV[8]))
  end
  if most_in_flight > 0 then
    redis.call('ZADD', leases, now_ms + ARGV[6], ARGV[5])
    redis.call('PEXPIRE', leases, math.max(tonumber(ARGV[6]), redis.call('PTTL', leases)))
  end
end
local left = most > 0 and math.floor((now_us + period_us - full_us) / image_us + 0.001) or 0
return {admitted and 1 or 0, left, math.floor(full_us - now_us), math.ceil(wait_us), flying}
