-- Admit a job to its pool's queue, or refuse it.
-- KEYS: queue, job, load, jobs
-- ARGV: job_id, user, blocks, bytes, max_blocks, max_bytes, job_ttl_s, timestamp, origin, data,
--       most_ms, job_prefix, most_bytes (-1: any), tenant (absent or the user: no tenant)
-- Returns 1 if it was enqueued, 0 if it was rejected
--
-- Capacity is shared by dynamic thresholds (Choudhury and Hahne, 1998): one tenant may hold as much
-- as is still free, so a flood takes at most half of the pool and the rest is left for others. A
-- user of a tenant may hold as much as is still free to that tenant.
local id, user, tenant = ARGV[1], ARGV[2], ARGV[14] or ''
if tenant == user then tenant = '' end
local blocks, bytes = tonumber(ARGV[3]), tonumber(ARGV[4])
local held = redis.call('HMGET', KEYS[3], 'blocks', 'bytes', 'blocks:' .. user, 'bytes:' .. user,
  'tenant_blocks:' .. tenant, 'tenant_bytes:' .. tenant)
for i = 1, 6 do held[i] = tonumber(held[i] or '0') end
local free_blocks, free_bytes = ARGV[5] - held[1], ARGV[6] - held[2]
-- The tenant's share; a user without a tenant counts as one.
local all_blocks, all_bytes = held[3], held[4]
if tenant ~= '' then all_blocks, all_bytes = held[5], held[6] end
-- An empty pool takes any job, because otherwise a block over the limit could never be done.
if held[1] > 0 then
  if all_blocks + blocks > free_blocks or all_bytes + bytes > free_bytes then return 0 end
  if tenant ~= '' and (held[3] + blocks > free_blocks - all_blocks
      or held[4] + bytes > free_bytes - all_bytes) then return 0 end
end
-- Tenants without queued work are placed first, in order of arrival.
local ahead = all_blocks == 0 and redis.call('HGET', KEYS[3], 'ahead')
local at = ahead and redis.call('LPOS', KEYS[1], ahead)
if not at then ahead = nil end
-- A user without queued work whose tenant has some replaces the tenant's first job that is not
-- its user's only one. The replaced job goes to the end, so that no other tenant waits for it. It
-- is looked for in the part of the queue that is processed next.
local swapped, swapped_at
if all_blocks > 0 and held[3] == 0 then
  local first = redis.call('LRANGE', KEYS[1], 0, 127)
  local records = #first > 0 and redis.call('HMGET', KEYS[4], unpack(first)) or {}
  for i, packed in ipairs(records) do
    local record = packed and cmsgpack.unpack(packed)
    if record and record[4] == tenant and record[5] == 1 then
      swapped, swapped_at = first[i], i - 1
      break
    end
  end
end
-- Reject the job if the backlog ahead exceeds what the pool can do before its deadline. An empty
-- queue accepts any job, so that an outdated measurement of the pool's speed is corrected.
local most_bytes = tonumber(ARGV[13])
if most_bytes >= 0 then
  local place = at and at + 1 or 0
  if all_blocks > 0 then place = swapped_at or redis.call('LLEN', KEYS[1]) end
  local mean = held[2] / math.max(1, redis.call('HLEN', KEYS[4]))
  if place * mean > most_bytes then return 0 end
end
-- A job waits at least as long as the queue's first job has waited: reject it if that is over most_ms.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local next_id = (all_blocks > 0 or ahead) and redis.call('LINDEX', KEYS[1], 0)
if next_id and next_id ~= swapped then
  local since = redis.call('HGET', ARGV[12] .. next_id, 'since')
  if since and now - since > tonumber(ARGV[11]) then return 0 end
end
local more = {blocks = blocks, bytes = bytes}
for name, amount in pairs(more) do
  redis.call('HINCRBY', KEYS[3], name, amount)
  redis.call('HINCRBY', KEYS[3], name .. ':' .. user, amount)
  if tenant ~= '' then redis.call('HINCRBY', KEYS[3], 'tenant_' .. name .. ':' .. tenant, amount) end
end
redis.call('HSET', KEYS[4], id,
  cmsgpack.pack({user, blocks, bytes, tenant, held[3] > 0 and 1 or 0}))
redis.call('HSET', KEYS[2], 'data', ARGV[10], 'origin', ARGV[9], 'status', 'queued',
  'created_at', ARGV[8], 'enqueued_at', ARGV[8], 'since', string.format('%.0f', now))
redis.call('EXPIRE', KEYS[2], ARGV[7])
if swapped then
  redis.call('LSET', KEYS[1], swapped_at, id)
  redis.call('RPUSH', KEYS[1], swapped)
  return 1
end
if all_blocks > 0 then
  redis.call('RPUSH', KEYS[1], id)
  return 1
end
if ahead then
  redis.call('LINSERT', KEYS[1], 'AFTER', ahead, id)
else
  redis.call('LPUSH', KEYS[1], id)
end
redis.call('HSET', KEYS[3], 'ahead', id)
return 1
