-- Remove a finished job from all keys that refer to it.
-- KEYS: job, taken, leases, load, jobs, metrics    ARGV: job_id, counter
redis.call('UNLINK', KEYS[1])
redis.call('LREM', KEYS[2], 1, ARGV[1])
redis.call('ZREM', KEYS[3], ARGV[1])
redis.call('HINCRBY', KEYS[6], ARGV[2], 1)
local held = redis.call('HGET', KEYS[5], ARGV[1])
if not held then return end
redis.call('HDEL', KEYS[5], ARGV[1])
if redis.call('EXISTS', KEYS[5]) == 0 then -- a pool without jobs has no load
  redis.call('DEL', KEYS[4])
  return
end
local user, blocks, bytes, tenant = unpack(cmsgpack.unpack(held))
for name, amount in pairs({blocks = blocks, bytes = bytes}) do
  redis.call('HINCRBY', KEYS[4], name, -amount)
  if redis.call('HINCRBY', KEYS[4], name .. ':' .. user, -amount) <= 0 then
    redis.call('HDEL', KEYS[4], name .. ':' .. user)
  end
  local of_tenant = tenant and tenant ~= '' and 'tenant_' .. name .. ':' .. tenant
  if of_tenant and redis.call('HINCRBY', KEYS[4], of_tenant, -amount) <= 0 then
    redis.call('HDEL', KEYS[4], of_tenant)
  end
end
