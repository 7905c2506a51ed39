-- Claim the blocks nobody works on and enqueue them as one RQ job, atomically.
-- KEYS: cache, ages, flights, queue, job
-- ARGV: now_ms, flight_ms, reply_list, job_id, max_jobs, job_ttl_s, timestamp, origin,
--       data_head, data_tail, then (block_key, block_json) pairs
-- Returns one item a block: {'hit', form} | 'joined' | 'claimed' | 'full'
local now, lease = tonumber(ARGV[1]), tonumber(ARGV[2])
local reply = ARGV[3]
local full = redis.call('LLEN', KEYS[4]) >= tonumber(ARGV[5])
local answers, claimed, fields = {}, {}, {}
for i = 11, #ARGV, 2 do
  local key = ARGV[i]
  local form = redis.call('HGET', KEYS[1], key)
  if form then
    redis.call('ZADD', KEYS[2], now, key)
    answers[#answers + 1] = {'hit', form}
  else
    local flight = redis.call('HGET', KEYS[3], key)
    local ends = flight and tonumber(string.match(flight, '^(%d+)|'))
    if ends and ends > now then
      local seen = false
      for waiter in string.gmatch(flight, '|([^|]+)') do
        if waiter == reply then seen = true end
      end
      if not seen then redis.call('HSET', KEYS[3], key, flight .. '|' .. reply) end
      answers[#answers + 1] = 'joined'
    elseif full then
      answers[#answers + 1] = 'full'
    else
      fields[#fields + 1] = key
      fields[#fields + 1] = string.format('%.0f', now + lease) .. '|' .. reply
      claimed[#claimed + 1] = ARGV[i + 1]
      answers[#answers + 1] = 'claimed'
    end
  end
end
if #claimed > 0 then
  redis.call('HSET', KEYS[3], unpack(fields))
  redis.call('PEXPIRE', KEYS[3], 10 * lease)
  redis.call('HSET', KEYS[5],
    'data', ARGV[9] .. table.concat(claimed, ',') .. ARGV[10],
    'origin', ARGV[8], 'status', 'queued', 'created_at', ARGV[7], 'enqueued_at', ARGV[7])
  redis.call('EXPIRE', KEYS[5], ARGV[6])
  redis.call('RPUSH', KEYS[4], ARGV[4])
end
return answers
