-- Take forms that nobody can read out of a session cache; one that was replaced stays.
-- KEYS: cache    ARGV: pairs of a block key and the form that was found there
for i = 1, #ARGV, 2 do
  if redis.call('HGET', KEYS[1], ARGV[i]) == ARGV[i + 1] then
    redis.call('HDEL', KEYS[1], ARGV[i])
  end
end
