-- Start a popped job: lease it and read it.
-- KEYS: job, jobs, leases    ARGV: job_id, lease_ms, ms_a_megabyte, job_ttl_s
-- Returns {lease_ms, data, milliseconds in the queue, earlier starts}; no data if the job is gone
local held = redis.call('HGET', KEYS[2], ARGV[1])
local bytes = held and cmsgpack.unpack(held)[3] or 0
local lease = ARGV[2] + math.floor(ARGV[3] * bytes / 1048576)
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
redis.call('ZADD', KEYS[3], now + lease, ARGV[1])
local job = redis.call('HMGET', KEYS[1], 'data', 'since', 'again')
if job[1] then
  redis.call('HSET', KEYS[1], 'status', 'started')
  redis.call('EXPIRE', KEYS[1], ARGV[4])
end
local waited = math.max(0, now - (tonumber(job[2] or now) or now))
return {lease, job[1], waited, tonumber(job[3] or '0')}
