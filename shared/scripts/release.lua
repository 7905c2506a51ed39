-- Give claimed blocks up that no job will do.
-- KEYS: flights    ARGV: block keys
-- Returns for each the reply lists that wait for it, the claimer's own first
local waiting = {}
for _, key in ipairs(ARGV) do
  local waiters = {}
  for waiter in string.gmatch(redis.call('HGET', KEYS[1], key) or '', '|([^|]+)') do
    waiters[#waiters + 1] = waiter
  end
  redis.call('HDEL', KEYS[1], key)
  waiting[#waiting + 1] = waiters
end
return waiting
