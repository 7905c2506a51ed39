-- Write one answered request into the books: once, whatever is sent again.
-- KEYS: writers, answer, recent, history, buckets, user_names, model_names, transform_names,
--       life, life_users, hour, hour_users, day, day_users
-- ARGV: writer, seq, entry (MessagePack), limits (MessagePack), 'anyway' or ''
-- An entry's amounts are strings: 64-bit integers that Lua's numbers would round.
-- Returns 1 where it was written, 0 where this writer had written it before, -1 where
-- entries before it are missing: this Redis lost them, and they are to be sent again first.
local writer, seq = ARGV[1], tonumber(ARGV[2])
local last = redis.call('HGET', KEYS[1], writer)
if last and seq <= tonumber(last) then return 0 end
if ARGV[5] == '' and seq > tonumber(last or '0') + 1 then return -1 end
redis.call('HSET', KEYS[1], writer, ARGV[2])
local entry, limits = cmsgpack.unpack(ARGV[3]), cmsgpack.unpack(ARGV[4])

local function folded(names, name, limit)
  if redis.call('SISMEMBER', names, name) == 1 then return name end
  if redis.call('SCARD', names) >= limit then return 'other' end
  redis.call('SADD', names, name)
  return name
end

local function negated(amount)
  if string.sub(amount, 1, 1) == '-' then return string.sub(amount, 2) end
  return '-' .. amount
end

local function add(key, prefix, row, undo)
  for _, pair in ipairs(row) do
    local amount = undo and negated(pair[2]) or pair[2]
    redis.call('HINCRBY', key, prefix .. pair[1], amount)
  end
end

local function book(kept, undo)
  for _, keys in ipairs(kept.keys) do
    add(keys[1], 't\31', kept.row, undo)
    add(keys[1], 't\31', kept.more, undo)
    redis.call('HINCRBY', keys[1], 'rev', 1)
    if kept.user ~= '' then
      add(keys[1], 'm\31' .. kept.model .. '\31', kept.row, undo)
      add(keys[2], 'u\31' .. kept.user .. '\31', kept.row, undo)
      redis.call('HINCRBY', keys[2], 'rev', 1)
    end
  end
end

-- Buckets have no TTL, or Redis might evict them; they end here, by the hour.
if redis.call('EXISTS', KEYS[11]) == 0 then
  for _, old in ipairs(redis.call('ZRANGEBYSCORE', KEYS[5], '-inf', limits.now)) do
    redis.call('UNLINK', old)
    redis.call('ZREM', KEYS[5], old)
  end
end
for i = 11, 14 do redis.call('ZADD', KEYS[5], limits.ends[i - 10], KEYS[i]) end

local answered = entry.answer ~= ''
if answered then
  local before = redis.call('GET', KEYS[2])
  if before then  -- the same request again: its last answer is the one that counts
    local kept = cmsgpack.unpack(before)
    if kept.at > entry.at then return 1 end
    book(kept, true)
    redis.call('LREM', KEYS[3], -1, kept.recent)
    if kept.history ~= '' then redis.call('LREM', KEYS[4], -1, kept.history) end
  end
end

local kept = {
  at = entry.at, user = '', model = '', row = entry.row, more = entry.more, recent = entry.recent, history = '',
  keys = {{KEYS[9], KEYS[10]}, {KEYS[11], KEYS[12]}, {KEYS[13], KEYS[14]}},
}
if entry.user ~= '' then
  kept.user = folded(KEYS[6], entry.user, limits.users)
  kept.model = folded(KEYS[7], entry.model, limits.models)
end
for _, pair in ipairs(kept.more) do
  if string.sub(pair[1], 1, 2) == 'x:' then
    pair[1] = 'x:' .. folded(KEYS[8], string.sub(pair[1], 3), limits.transforms)
  end
end
book(kept, false)

for _, keys in ipairs(kept.keys) do
  local best = tonumber(redis.call('HGET', keys[1], 'best') or '-1')
  if entry.best > best and entry.best > 0 then
    redis.call('HSET', keys[1], 'best', entry.best, 'best_detail', entry.best_detail)
  end
end
if entry.recent ~= '' then
  redis.call('RPUSH', KEYS[3], entry.recent)
  redis.call('LTRIM', KEYS[3], -limits.recent, -1)
end
if entry.history ~= '' then
  kept.history = entry.history
    .. ',"total_tokens_saved":' .. redis.call('HGET', KEYS[9], 't\31saved')
    .. ',"total_cost_units":"' .. redis.call('HGET', KEYS[9], 't\31cost') .. '"}'
  redis.call('RPUSH', KEYS[4], kept.history)
  redis.call('LTRIM', KEYS[4], -limits.history, -1)
end
if answered then redis.call('SET', KEYS[2], cmsgpack.pack(kept), 'EX', limits.answer_ttl) end
return 1
