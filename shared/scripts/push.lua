-- Admit a job to its pool's queue, or refuse it.
-- KEYS: queue, job, load, jobs
-- ARGV: job_id, user, blocks, bytes, max_blocks, max_bytes, job_ttl_s, timestamp, origin, data,
--       most_ms, job_prefix, most_bytes (-1: any)
-- Returns 1 where it was enqueued, 0 where the pool has no room for it
--
-- Room is given by dynamic thresholds (Choudhury and Hahne, 1998): one user may hold as much
-- as is still free, so a flood takes half of the pool at most and room is left for who comes.
local id, user = ARGV[1], ARGV[2]
local blocks, bytes = tonumber(ARGV[3]), tonumber(ARGV[4])
local held = redis.call('HMGET', KEYS[3], 'blocks', 'bytes', 'blocks:' .. user, 'bytes:' .. user)
for i = 1, 4 do held[i] = tonumber(held[i] or '0') end
local free_blocks, free_bytes = ARGV[5] - held[1], ARGV[6] - held[2]
-- A pool that holds nothing takes any job, or a block over the bound could never be done.
if held[1] > 0 and (held[3] + blocks > free_blocks or held[4] + bytes > free_bytes) then return 0 end
-- Who has nothing here goes ahead of those who have, behind others like him.
local ahead = held[3] == 0 and redis.call('HGET', KEYS[3], 'ahead')
local at = ahead and redis.call('LPOS', KEYS[1], ahead)
if not at then ahead = nil end
-- Whoever would stand behind more than the pool does in his time need not wait. Where nobody
-- waits there is room, whatever is known of the pool: so that is learned anew.
local most_bytes = tonumber(ARGV[13])
if most_bytes >= 0 then
  local place = at and at + 1 or 0
  if held[3] > 0 then place = redis.call('LLEN', KEYS[1]) end
  local mean = held[2] / math.max(1, redis.call('HLEN', KEYS[4]))
  if place * mean > most_bytes then return 0 end
end
-- How long the next in line has waited, whoever stands behind him waits as well: longer than
-- most_ms is no use.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local next_id = (held[3] > 0 or ahead) and redis.call('LINDEX', KEYS[1], 0)
if next_id then
  local since = redis.call('HGET', ARGV[12] .. next_id, 'since')
  if since and now - since > tonumber(ARGV[11]) then return 0 end
end
redis.call('HINCRBY', KEYS[3], 'blocks', blocks)
redis.call('HINCRBY', KEYS[3], 'bytes', bytes)
redis.call('HINCRBY', KEYS[3], 'blocks:' .. user, blocks)
redis.call('HINCRBY', KEYS[3], 'bytes:' .. user, bytes)
redis.call('HSET', KEYS[4], id, cmsgpack.pack({user, blocks, bytes}))
redis.call('HSET', KEYS[2], 'data', ARGV[10], 'origin', ARGV[9], 'status', 'queued',
  'created_at', ARGV[8], 'enqueued_at', ARGV[8], 'since', string.format('%.0f', now))
redis.call('EXPIRE', KEYS[2], ARGV[7])
if held[3] > 0 then
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
