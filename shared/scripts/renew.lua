-- Prolong the leases of jobs that are being worked on; one that lapsed stays lapsed.
-- KEYS: leases    ARGV: job_id, lease_ms pairs
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
for i = 1, #ARGV, 2 do redis.call('ZADD', KEYS[1], 'XX', now + ARGV[i + 1], ARGV[i]) end
