-- Look up blocks in a user's session cache, and claim those in no job (single flight).
-- KEYS: cache, ages, then a claim for each block    ARGV: reply list, lease_ms (0: look up
-- only), then block keys
-- Returns one item per block: a form (cached), 0 (absent, not claimed), 1 (claimed for the
-- caller), or a negative number: already claimed, for at least so many milliseconds
local owner, lease = ARGV[1], tonumber(ARGV[2])

local function take(claim)
  local waiters = redis.call('GET', claim)
  if not waiters then
    redis.call('SET', claim, owner, 'PX', lease)
    return 1
  end
  if not string.find('|' .. waiters .. '|', '|' .. owner .. '|', 1, true) then
    redis.call('APPEND', claim, '|' .. owner)
  end
  return -math.max(1, redis.call('PTTL', claim))
end

local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
local answers = redis.call('HMGET', KEYS[1], unpack(ARGV, 3))
local used = {}
for i, form in ipairs(answers) do
  if form then
    used[#used + 1] = now
    used[#used + 1] = ARGV[i + 2]
  elseif lease > 0 then
    answers[i] = take(KEYS[i + 2])
  else
    answers[i] = 0
  end
end
if #used > 0 then redis.call('ZADD', KEYS[2], unpack(used)) end
return answers
