-- Advance a gateway's turn by one step, unless another answer has done so.
-- KEYS: turn    ARGV: version it must have, state, body ('-' = none), ttl_s
-- Returns 1 if it was advanced, 0 if the turn has another version, -1 if it has expired
local version = redis.call('HGET', KEYS[1], 'version')
if not version then return -1 end
if version ~= ARGV[1] then return 0 end
redis.call('HSET', KEYS[1], 'version', ARGV[1] + 1, 'state', ARGV[2])
if ARGV[3] == '-' then redis.call('HDEL', KEYS[1], 'body')
else redis.call('HSET', KEYS[1], 'body', ARGV[3]) end
redis.call('EXPIRE', KEYS[1], ARGV[4])
return 1
