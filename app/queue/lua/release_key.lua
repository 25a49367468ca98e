-- Deletes an idempotency key, if it still holds what the caller put there.
-- KEYS: idempotency key   ARGV: what it holds   Returns 1 if it was deleted
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
return redis.call('DEL', KEYS[1])
