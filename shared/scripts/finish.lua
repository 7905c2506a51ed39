-- Put a finished block into the session cache, within its bound, and end its flight.
-- KEYS: cache, ages, flights    ARGV: now_ms, ttl_s, max_entries, block_key, form ('' = none)
-- Returns the reply lists that wait for the block
if ARGV[5] ~= '' then
  redis.call('HSET', KEYS[1], ARGV[4], ARGV[5])
  redis.call('ZADD', KEYS[2], ARGV[1], ARGV[4])
  local over = redis.call('ZCARD', KEYS[2]) - tonumber(ARGV[3])
  if over > 0 then
    local oldest = redis.call('ZPOPMIN', KEYS[2], over)
    for i = 1, #oldest, 2 do redis.call('HDEL', KEYS[1], oldest[i]) end
  end
  redis.call('EXPIRE', KEYS[1], ARGV[2])
  redis.call('EXPIRE', KEYS[2], ARGV[2])
end
local waiters = {}
local flight = redis.call('HGET', KEYS[3], ARGV[4])
if flight then
  for waiter in string.gmatch(flight, '|([^|]+)') do waiters[#waiters + 1] = waiter end
  redis.call('HDEL', KEYS[3], ARGV[4])
end
return waiters
