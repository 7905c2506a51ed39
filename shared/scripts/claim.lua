-- Look blocks up in a user's session cache, and claim those nobody works on (single flight).
-- KEYS: cache, ages, flights    ARGV: reply_list, flight_ms (0: look up only), then block keys
-- Returns one item a block: a form (hit), 0 (absent), 1 (somebody works on it), 2 (claimed)
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
local reply, lease = ARGV[1], tonumber(ARGV[2])
local answers = redis.call('HMGET', KEYS[1], unpack(ARGV, 3))
local used, absent, places = {}, {}, {}
for i, form in ipairs(answers) do
  if form then
    used[#used + 1] = now
    used[#used + 1] = ARGV[i + 2]
  else
    answers[i] = 0
    absent[#absent + 1] = ARGV[i + 2]
    places[#places + 1] = i
  end
end
if #used > 0 then redis.call('ZADD', KEYS[2], unpack(used)) end
if lease == 0 or #absent == 0 then return answers end
local flights = redis.call('HMGET', KEYS[3], unpack(absent))
local noted = {}
for i, flight in ipairs(flights) do
  local ends = flight and tonumber(string.match(flight, '^(%d+)|'))
  local entry
  if ends and ends > now then
    answers[places[i]] = 1
    local seen = false
    for waiter in string.gmatch(flight, '|([^|]+)') do
      if waiter == reply then seen = true end
    end
    if not seen then entry = flight .. '|' .. reply end
  else
    answers[places[i]] = 2
    entry = string.format('%.0f', now + lease) .. '|' .. reply
  end
  if entry then
    noted[#noted + 1] = absent[i]
    noted[#noted + 1] = entry
  end
end
if #noted > 0 then
  redis.call('HSET', KEYS[3], unpack(noted))
  redis.call('PEXPIRE', KEYS[3], 10 * lease)
end
return answers
