-- Store a finished block in the session cache, within its limit, and end its claim.
-- KEYS: cache, ages, claim    ARGV: ttl_s, max_entries, block_key, form ('' = none)
-- Returns the reply lists that wait for the block
-- A form already in the cache stays: a block's form must not change within a session.
if ARGV[4] ~= '' and redis.call('HSETNX', KEYS[1], ARGV[3], ARGV[4]) == 1 then
  local clock = redis.call('TIME')
  redis.call('ZADD', KEYS[2], clock[1] * 1000 + math.floor(clock[2] / 1000), ARGV[3])
  local over = redis.call('ZCARD', KEYS[2]) - tonumber(ARGV[2])
  if over > 0 then
    local oldest = redis.call('ZPOPMIN', KEYS[2], over)
    for i = 1, #oldest, 2 do redis.call('HDEL', KEYS[1], oldest[i]) end
  end
  redis.call('EXPIRE', KEYS[1], ARGV[1])
  redis.call('EXPIRE', KEYS[2], ARGV[1])
end
local waiters = {}
for waiter in string.gmatch(redis.call('GET', KEYS[3]) or '', '[^|]+') do
  waiters[#waiters + 1] = waiter
end
redis.call('UNLINK', KEYS[3])
return waiters
