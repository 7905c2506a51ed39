-- Read the same fields of many hashes: one command, where a month has 744 hours.
-- KEYS: hashes    ARGV: fields    Returns a list a hash, false where a field is missing
local rows = {}
for i, key in ipairs(KEYS) do rows[i] = redis.call('HMGET', key, unpack(ARGV)) end
return rows
