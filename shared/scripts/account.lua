-- Write one answered request into the books: once, whatever is sent again.
-- KEYS: writers, answer, recent, history, buckets, user_names, model_names, transform_names,
--       then of life, hour and day each: totals and models, users, detail of both
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

-- What is to be added, by key and field: two commands a key write it, where one a field cost
-- 180 a request. What a double does not hold exactly is left to HINCRBY.
local digits, changes = 15, {}
local exact = 10 ^ digits

local function add(key, prefix, row, sign)
  for _, pair in ipairs(row) do
    local field, amount = prefix .. pair[1], pair[2]
    if #amount > digits then
      redis.call('HINCRBY', key, field, sign < 0 and negated(amount) or amount)
    else
      local fields = changes[key] or {}
      changes[key] = fields
      fields[field] = (fields[field] or 0) + sign * tonumber(amount)
    end
  end
end

local function book(kept, sign)
  for _, keys in ipairs(kept.keys) do
    add(keys[1], 't\31', kept.row, sign)
    add(keys[1], 't\31', kept.detail, sign)
    add(keys[1], 't\31', kept.more, sign)
    add(keys[1], '', {{'rev', '1'}}, 1)
    if kept.user ~= '' then
      local model, user = 'm\31' .. kept.model .. '\31', 'u\31' .. kept.user .. '\31'
      add(keys[1], model, kept.row, sign)
      add(keys[2], user, kept.row, sign)
      add(keys[2], '', {{'rev', '1'}}, 1)
      add(keys[3], model, kept.detail, sign)
      add(keys[3], user, kept.detail, sign)
    end
  end
end

-- Write a key's changes; where the entry is the best of one of its rows yet, that too.
-- Returns the counters as they are now, but for those a double does not hold exactly.
local function write(key, rows)
  local names, asked, set, now = {}, {}, {}, {}
  for i, row in ipairs(rows) do asked[i] = row .. 'best' end
  for name in pairs(changes[key]) do
    names[#names + 1] = name
    asked[#asked + 1] = name
  end
  local held = redis.call('HMGET', key, unpack(asked))
  for i in ipairs(rows) do
    if entry.best > tonumber(held[i] or '0') then
      for _, item in ipairs({asked[i], entry.best, asked[i] .. '_detail', entry.best_detail}) do
        set[#set + 1] = item
      end
    end
  end
  for i, name in ipairs(names) do
    local amount = changes[key][name]
    local sum = tonumber(held[#rows + i] or '0') + amount
    if math.abs(sum) < exact then
      now[name] = string.format('%.0f', sum)
      set[#set + 1] = name
      set[#set + 1] = now[name]
    else
      redis.call('HINCRBY', key, name, string.format('%.0f', amount))
    end
  end
  redis.call('HSET', key, unpack(set))
  changes[key] = nil
  return now
end

-- Buckets have no TTL, or Redis might evict them; they end here, when a new hour begins.
if redis.call('EXISTS', KEYS[12]) == 0 then
  for _, old in ipairs(redis.call('ZRANGEBYSCORE', KEYS[5], '-inf', limits.now)) do
    redis.call('UNLINK', old)
    redis.call('ZREM', KEYS[5], old)
  end
  for i, ends in ipairs(limits.ends) do redis.call('ZADD', KEYS[5], ends, KEYS[11 + i]) end
end

local answered = entry.answer ~= ''
if answered then
  local before = redis.call('GET', KEYS[2])
  if before then  -- the same request again: its last answer is the one that counts
    local kept = cmsgpack.unpack(before)
    if kept.at > entry.at then return 1 end
    kept.detail = kept.detail or {}  -- an earlier release's
    book(kept, -1)
    redis.call('LREM', KEYS[3], -1, kept.recent)
    if kept.history ~= '' then redis.call('LREM', KEYS[4], -1, kept.history) end
  end
end

local kept = {
  at = entry.at, user = '', model = '', row = entry.row, detail = entry.detail, more = entry.more,
  recent = entry.recent, history = '',
  keys = {
    {KEYS[9], KEYS[10], KEYS[11]}, {KEYS[12], KEYS[13], KEYS[14]}, {KEYS[15], KEYS[16], KEYS[17]},
  },
}
if entry.user ~= '' then
  kept.user = folded(KEYS[6], entry.user, limits.users)
  kept.model = folded(KEYS[7], entry.model, limits.models)
end
local transforms = {}
for _, pair in ipairs(kept.more) do
  if string.sub(pair[1], 1, 2) == 'x:' then transforms[#transforms + 1] = string.sub(pair[1], 3) end
end
if #transforms > 0 then
  local known, at = redis.call('SMISMEMBER', KEYS[8], unpack(transforms)), 0
  for _, pair in ipairs(kept.more) do
    if string.sub(pair[1], 1, 2) == 'x:' then
      at = at + 1
      if known[at] == 0 then pair[1] = 'x:' .. folded(KEYS[8], transforms[at], limits.transforms) end
    end
  end
end
book(kept, 1)

local totals = {}
for i, keys in ipairs(kept.keys) do
  local rows = {''}
  if kept.user ~= '' then
    rows[2] = 'm\31' .. kept.model .. '\31'
    write(keys[2], {'u\31' .. kept.user .. '\31'})
  end
  totals[i] = write(keys[1], rows)
end
for key in pairs(changes) do write(key, {}) end

-- A ring is cut once for every tenth of it that is too much.
local function push(key, line, limit)
  if redis.call('RPUSH', key, line) > limit * 1.1 then redis.call('LTRIM', key, -limit, -1) end
end
if entry.recent ~= '' then push(KEYS[3], entry.recent, limits.recent) end
if entry.history ~= '' then
  local function lifetime(name)
    return totals[1][name] or redis.call('HGET', KEYS[9], name) or '0'
  end
  kept.history = entry.history
    .. ',"total_tokens_saved":' .. lifetime('t\31saved')
    .. ',"total_cost_units":"' .. lifetime('t\31cost') .. '"}'
  push(KEYS[4], kept.history, limits.history)
end
if answered then redis.call('SET', KEYS[2], cmsgpack.pack(kept), 'EX', limits.answer_ttl) end
return 1
