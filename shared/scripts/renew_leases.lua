-- Renew the leases of jobs in work; those that expired stay expired.
-- KEYS: leases    ARGV: job_id, lease_ms pairs
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
for i = 1, #ARGV, 2 do redis.call('ZADD', KEYS[1], 'XX', now + ARGV[i + 1], ARGV[i]) end
