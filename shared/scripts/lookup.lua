-- Read forms from the user's session cache and mark them used.
-- KEYS: cache, ages    ARGV: now_ms, then block keys    Returns one form or false a key
local forms = redis.call('HMGET', KEYS[1], unpack(ARGV, 2))
for i, form in ipairs(forms) do
  if form then redis.call('ZADD', KEYS[2], ARGV[1], ARGV[i + 1]) end
end
return forms
