-- Count outputs that were shortened and retrieved, and pause engines whose share is too high.
-- KEYS: the scope's counts, all pauses, all scopes
-- ARGV: scope, minimum rate and sample to pause an engine, length of a pause and half-life of
--       counts in seconds, most pairs of a scope, most pauses; then engine, tool, shortened,
--       retrieved for each pair
-- Returns the number of engines paused now
--
-- A pair's counts are [shortened, retrieved, time]; both halve with every half-life, so that the
-- results of weeks ago have little weight. A pause is [until, since, shortened, retrieved].
local scope, rate, sample = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
local pause, half_life = tonumber(ARGV[4]), tonumber(ARGV[5])
local most_pairs, most_pauses = tonumber(ARGV[6]), tonumber(ARGV[7])
local now = tonumber(redis.call('TIME')[1])
local held_pauses = redis.call('HGETALL', KEYS[2])
local pauses = #held_pauses / 2
for i = 1, #held_pauses, 2 do
  if cmsgpack.unpack(held_pauses[i + 1])[1] <= now then
    redis.call('HDEL', KEYS[2], held_pauses[i])
    pauses = pauses - 1
  end
end
local paused = 0
for i = 8, #ARGV, 4 do
  local pair = ARGV[i] .. '\31' .. ARGV[i + 1]
  local held = redis.call('HGET', KEYS[1], pair)
  local counts = held and cmsgpack.unpack(held) or {0, 0, now}
  local fade = 0.5 ^ (math.max(0, now - counts[3]) / half_life)
  local shortened = counts[1] * fade + tonumber(ARGV[i + 2])
  -- The front end that is asked may write before the one that shortened.
  local asked = math.min(shortened + sample, counts[2] * fade + tonumber(ARGV[i + 3]))
  local back = math.min(shortened, asked)
  if rate > 0 and shortened >= sample and back >= rate * shortened and pauses < most_pauses then
    redis.call('HSET', KEYS[2], scope .. '\31' .. pair,
      cmsgpack.pack({now + pause, now, shortened, back}))
    redis.call('HDEL', KEYS[1], pair)
    pauses, paused = pauses + 1, paused + 1
  elseif held or redis.call('HLEN', KEYS[1]) < most_pairs then
    redis.call('HSET', KEYS[1], pair, cmsgpack.pack({shortened, asked, now}))
  end
end
redis.call('EXPIRE', KEYS[1], 10 * half_life)
redis.call('ZADD', KEYS[3], now, scope)
redis.call('ZREMRANGEBYRANK', KEYS[3], 0, -1001)
redis.call('EXPIRE', KEYS[3], 10 * half_life)
if paused > 0 and redis.call('PTTL', KEYS[2]) < pause * 1000 then
  redis.call('EXPIRE', KEYS[2], pause + 60)
end
return paused
