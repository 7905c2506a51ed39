-- Record one entry: add an answered request to the counters, once, however often it is sent.
-- KEYS: writers, answer, recent, history, buckets, then the last use of user, model and
--       transform names, then the lifetime's totals and models, users, detail of both, then
--       the sessions of the policy's groups and the last use of each
-- ARGV: writer, seq, entry (MessagePack), limits (MessagePack), 'anyway' or ''
-- An entry's amounts are strings: 64-bit integers that Lua's numbers would round.
-- Hour and day keys are not in KEYS: the clock that names them is Redis's, known only here.
-- Returns 1 if it was written, 2 if written at a corrected time, 0 if this writer had written
-- it before, -1 if earlier entries are missing because this Redis lost them: send those first.
local writer, seq = ARGV[1], tonumber(ARGV[2])
local last = redis.call('HGET', KEYS[1], writer)
if last and seq <= tonumber(last) then return 0 end
if ARGV[5] == '' and seq > tonumber(last or '0') + 1 then return -1 end
redis.call('HSET', KEYS[1], writer, ARGV[2])
local entry, limits = cmsgpack.unpack(ARGV[3]), cmsgpack.unpack(ARGV[4])

-- The entry's time, by Redis's clock. limits.sent is the sender's clock now: if it is off by
-- more than limits.margin seconds, so is the entry's. If the time is in the future, or older than
-- the longest retention, the sender's clock has been changed since.
local clock = redis.call('TIME')
local now = tonumber(clock[1]) + tonumber(clock[2]) / 1e6
local at, skew = entry.at, now - limits.sent
if math.abs(skew) > limits.margin then at = at + skew end
if at > now + limits.margin or at < now - limits.keep[1] then at = now end
local corrected = at ~= entry.at

-- Return an epoch time's date as {year, month, day} (UTC, proleptic Gregorian calendar).
local function date_of(seconds)
  local floor = math.floor
  local days = floor(seconds / 86400) + 719468  -- since 0000-03-01: leap days end a year
  local era = floor(days / 146097)
  local of_era = days - era * 146097
  local year = floor(
    (of_era - floor(of_era / 1460) + floor(of_era / 36524) - floor(of_era / 146096)) / 365
  )
  local of_year = of_era - (365 * year + floor(year / 4) - floor(year / 100))
  local month = floor((5 * of_year + 2) / 153)
  local day = of_year - floor((153 * month + 2) / 5) + 1
  month = month < 10 and month + 3 or month - 9
  return {year + era * 400 + (month <= 2 and 1 or 0), month, day}
end

local date = date_of(at)
local of_day = at % 86400
local day = string.format('day:%04d%02d%02d', unpack(date))
local hour = string.format(
  'hour:%04d%02d%02d%02d', date[1], date[2], date[3], math.floor(of_day / 3600)
)
local buckets = {{KEYS[9], KEYS[10], KEYS[11]}, {}, {}}
for i, part in ipairs(limits.parts) do
  buckets[2][i] = limits.prefix .. hour .. part
  buckets[3][i] = limits.prefix .. day .. part
end
if corrected then
  local stamp = string.format(
    '"timestamp":"%04d-%02d-%02dT%02d:%02d:%02d.%03d+00:00"', date[1], date[2], date[3],
    math.floor(of_day / 3600), math.floor(of_day / 60) % 60, math.floor(of_day) % 60,
    math.floor(of_day * 1000) % 1000
  )
  for _, ring in ipairs({'recent', 'history'}) do
    entry[ring] = string.gsub(entry[ring], '"timestamp":"[^"]*"', stamp, 1)
  end
end

-- Add the lifetime counters of a name that is dropped to those of 'other'.
local function fold(kind, name, fields, keys)
  local from, into = kind .. '\31' .. name .. '\31', kind .. '\31other\31'
  local asked = {}
  for i, field in ipairs(fields) do asked[i] = from .. field end
  for _, key in ipairs(keys) do
    local amounts, gone = redis.call('HMGET', key, unpack(asked)), {}
    for i, field in ipairs(fields) do
      local amount = amounts[i]
      if amount then
        gone[#gone + 1] = asked[i]
        if field == 'best' then
          if tonumber(amount) > tonumber(redis.call('HGET', key, into .. 'best') or '0') then
            local detail = redis.call('HGET', key, from .. 'best_detail') or ''
            redis.call('HSET', key, into .. 'best', amount, into .. 'best_detail', detail)
          end
        elseif field ~= 'best_detail' then
          redis.call('HINCRBY', key, into .. field, amount)
        end
      end
    end
    if #gone > 0 then
      redis.call('HDEL', key, unpack(gone))
      redis.call('HINCRBY', key, 'rev', 1)
    end
  end
end

local function fold_transform(name)
  local field = 't\31x:' .. name
  local amount = redis.call('HGET', KEYS[9], field)
  if amount then
    redis.call('HINCRBY', KEYS[9], 't\31x:other', amount)
    redis.call('HDEL', KEYS[9], field)
    redis.call('HINCRBY', KEYS[9], 'rev', 1)
  end
end

-- Names of counters that a user's or a model's row may have: the same as in the totals.
local function counters()
  local fields, held = {'best', 'best_detail'}, redis.call('HGETALL', KEYS[9])
  for i = 1, #held, 2 do
    local field = string.match(held[i], '^t\31(.*)$')
    if field and not string.match(field, '^[xl]:') and not string.match(field, '^best') then
      fields[#fields + 1] = field
    end
  end
  return fields
end

-- Return the name to count under: itself, or 'other' if the table is full of names in use.
-- A name's score is when it was last used, to the hour; a full table drops those unused for
-- limits.unused seconds, a few at a time, so that no call takes long.
-- 'used' is its score, or false; the caller has read it.
local function placed(kind, names, name, limit, used)
  if not used and redis.call('ZCARD', names) >= limit then
    local oldest = string.format('%.0f', now - limits.unused)
    local gone = redis.call('ZRANGEBYSCORE', names, '-inf', oldest, 'LIMIT', 0, 20)
    if #gone == 0 then return 'other' end
    local fields = kind ~= 'x' and counters()
    for _, old in ipairs(gone) do
      if kind == 'x' then fold_transform(old)
      elseif kind == 'u' then fold('u', old, fields, {KEYS[10], KEYS[11]})
      else fold('m', old, fields, {KEYS[9], KEYS[11]}) end
      redis.call('ZREM', names, old)
    end
  end
  if not used or now - tonumber(used) > 3600 then
    redis.call('ZADD', names, string.format('%.0f', now), name)
  end
  return name
end

local function negated(amount)
  if string.sub(amount, 1, 1) == '-' then return string.sub(amount, 2) end
  return '-' .. amount
end

-- Amounts to add, by key and field. Two commands per key write them; one per field would be 180
-- per request. Values that a double does not hold exactly are left to HINCRBY.
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

-- Write a key's changes, and the entry as the best of its rows if it is.
-- Returns the counters' new values, except those that a double does not hold exactly.
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

-- A session's line in the comparison of the policy's groups: the sums over its requests.
-- The JSON is written by hand, because cjson writes only 14 digits of a number.
local function compare(trial, sign)
  if not trial or trial.arm == nil then return end
  local id = trial.arm .. '\31' .. trial.rule .. '\31' .. trial.session
  local held = redis.call('HGET', KEYS[12], id)
  if not held and sign < 0 then return end
  local line = held and cjson.decode(held) or {first = at, last = at, chain = '', n = {}}
  if sign < 0 then
    if line.chain == trial.chain then line.chain = '' end
  elseif trial.chain ~= '' then
    if line.chain == trial.chain then trial.amounts.repeats = 0 end  -- the same request again
    line.chain = trial.chain
  end
  local numbers = {}
  for name, amount in pairs(trial.amounts) do line.n[name] = (line.n[name] or 0) + sign * amount end
  for name, amount in pairs(line.n) do
    if amount ~= 0 then numbers[#numbers + 1] = string.format('"%s":%.0f', name, amount) end
  end
  redis.call('HSET', KEYS[12], id, string.format(
    '{"first":%.3f,"last":%.3f,"chain":"%s","n":{%s}}', math.min(line.first, at),
    math.max(line.last, at), line.chain, table.concat(numbers, ',')
  ))
  local new = redis.call('ZADD', KEYS[13], string.format('%.3f', at), id)
  if new == 1 and redis.call('ZCARD', KEYS[13]) > limits.trials then
    local gone = redis.call('ZPOPMIN', KEYS[13], math.ceil(limits.trials / 100))
    for i = 1, #gone, 2 do redis.call('HDEL', KEYS[12], gone[i]) end
  end
end

local answered = entry.answer ~= ''
if answered then
  local before = redis.call('GET', KEYS[2])
  if before then  -- the same request again: only its last answer counts
    local kept = cmsgpack.unpack(before)
    if kept.at > at then return 1 end
    kept.detail = kept.detail or {}  -- an earlier release's
    book(kept, -1)
    compare(kept.trial, -1)
    redis.call('LREM', KEYS[3], -1, kept.recent)
    if kept.history ~= '' then redis.call('LREM', KEYS[4], -1, kept.history) end
  end
end

local kept = {
  at = at, user = '', model = '', row = entry.row, detail = entry.detail, more = entry.more,
  recent = entry.recent, history = '', keys = buckets,
}
if entry.user ~= '' then
  local users, models = KEYS[6], KEYS[7]
  local used = redis.call('ZSCORE', users, entry.user)
  kept.user = placed('u', users, entry.user, limits.users, used)
  used = redis.call('ZSCORE', models, entry.model)
  kept.model = placed('m', models, entry.model, limits.models, used)
end
local transforms = {}
for _, pair in ipairs(kept.more) do
  transforms[#transforms + 1] = string.match(pair[1], '^x:(.*)$')
end
if #transforms > 0 then
  local used, i = redis.call('ZMSCORE', KEYS[8], unpack(transforms)), 0
  for _, pair in ipairs(kept.more) do
    if string.sub(pair[1], 1, 2) == 'x:' then
      i = i + 1
      pair[1] = 'x:' .. placed('x', KEYS[8], transforms[i], limits.transforms, used[i])
    end
  end
end
compare(entry.trial, 1)
kept.trial = entry.trial
if corrected then add(KEYS[9], 't\31', {{'corrected', '1'}}, 1) end
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

-- Buckets have no TTL, because Redis might evict them; the first entry of each hour deletes old ones.
if totals[2].rev == '1' then
  for _, old in ipairs(redis.call('ZRANGEBYSCORE', KEYS[5], '-inf', clock[1])) do
    redis.call('UNLINK', old)
    redis.call('ZREM', KEYS[5], old)
  end
  for i = 1, 3 do
    redis.call('ZADD', KEYS[5], string.format('%.0f', at + limits.keep[i]), buckets[2][i])
    redis.call('ZADD', KEYS[5], string.format('%.0f', at + limits.keep[3 + i]), buckets[3][i])
  end
end

-- A ring is trimmed only once it is a tenth too long.
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
return corrected and 2 or 1
