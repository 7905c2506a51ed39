-- Read the same fields of many hashes in one command; a month has 744 hourly hashes.
-- KEYS: hashes    ARGV: fields    Returns one list per hash, false where a field is missing
local rows = {}
for i, key in ipairs(KEYS) do rows[i] = redis.call('HMGET', key, unpack(ARGV)) end
return rows
