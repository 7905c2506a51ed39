-- Delete unreadable forms from a session cache; one that was replaced meanwhile stays.
-- KEYS: cache    ARGV: pairs of a block key and the form found there
for i = 1, #ARGV, 2 do
  if redis.call('HGET', KEYS[1], ARGV[i]) == ARGV[i + 1] then
    redis.call('HDEL', KEYS[1], ARGV[i])
  end
end
