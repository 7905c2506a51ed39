-- Look blocks up in a user's session cache, and claim those nobody works on (single flight).
-- KEYS: cache, ages, flights    ARGV: reply_list, flight_ms (0: look up only), then block keys
-- Returns one item a block: a form (hit), 0 (absent), 1 (somebody works on it), 2 (claimed)
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
local reply, lease = ARGV[1], tonumber(ARGV[2])
local answers, claimed = {}, false
for i = 3, #ARGV do
  local key = ARGV[i]
  local form = redis.call('HGET', KEYS[1], key)
  local answer = form or 0
  if form then
    redis.call('ZADD', KEYS[2], now, key)
  elseif lease > 0 then
    local flight = redis.call('HGET', KEYS[3], key)
    local ends = flight and tonumber(string.match(flight, '^(%d+)|'))
    if ends and ends > now then
      answer = 1
      local seen = false
      for waiter in string.gmatch(flight, '|([^|]+)') do
        if waiter == reply then seen = true end
      end
      if not seen then redis.call('HSET', KEYS[3], key, flight .. '|' .. reply) end
    else
      answer = 2
      claimed = true
      redis.call('HSET', KEYS[3], key, string.format('%.0f', now + lease) .. '|' .. reply)
    end
  end
  answers[#answers + 1] = answer
end
if claimed then redis.call('PEXPIRE', KEYS[3], 10 * lease) end
return answers
