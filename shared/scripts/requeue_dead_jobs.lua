-- Find jobs whose worker died: queue them again once; return those that died twice.
-- KEYS: taken, leases, queue, load, jobs, metrics, reaped
-- ARGV: lease_ms, period_ms, job_key_prefix
-- Returns the ids of jobs that died twice; they are leased to the caller
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
local lease, period = tonumber(ARGV[1]), tonumber(ARGV[2])
local last = tonumber(redis.call('GET', KEYS[7]) or '0')
if now - last < period then return {} end
redis.call('SET', KEYS[7], string.format('%.0f', now))
-- If nobody called this for a lease's time (Redis was paused, say), nobody could renew leases.
local fresh = now - last > lease
local taken = redis.call('LRANGE', KEYS[1], 0, -1)
local dead = {}
for _, id in ipairs(taken) do
  local ends = redis.call('ZSCORE', KEYS[2], id)
  if fresh or not ends then
    -- Popped but not started: its worker has the time of one lease to start it.
    redis.call('ZADD', KEYS[2], now + lease, id)
  elseif tonumber(ends) < now then
    local job = ARGV[3] .. id
    local again = redis.call('EXISTS', job) == 1 and redis.call('HINCRBY', job, 'again', 1) or 2
    if again == 1 then
      redis.call('LREM', KEYS[1], 1, id)
      redis.call('ZREM', KEYS[2], id)
      redis.call('HSET', job, 'status', 'queued')
      redis.call('LPUSH', KEYS[3], id)
      redis.call('HINCRBY', KEYS[6], 'jobs:again', 1)
    else
      redis.call('ZADD', KEYS[2], now + lease, id)
      dead[#dead + 1] = id
    end
  end
end
-- If the queue was deleted from outside, its load is still counted.
if #taken == 0 and redis.call('LLEN', KEYS[3]) == 0 then redis.call('DEL', KEYS[4], KEYS[5]) end
return dead
