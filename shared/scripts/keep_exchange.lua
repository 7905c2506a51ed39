-- Append an item to a session's exchanges. A list that has become too large loses its oldest items
-- down to half the limits at once: each loss changes the beginning that the provider has cached.
-- KEYS: list    ARGV: item, most items, most bytes, TTL in seconds    Returns how many were dropped
local key, most, bytes = KEYS[1], tonumber(ARGV[2]), tonumber(ARGV[3])
redis.call('RPUSH', key, ARGV[1])
redis.call('EXPIRE', key, ARGV[4])
local items, total, dropped = redis.call('LRANGE', key, 0, -1), 0, 0
for _, item in ipairs(items) do total = total + #item end
if #items <= most and total <= bytes then return 0 end
while dropped < #items - 1 and (#items - dropped > most / 2 or total > bytes / 2) do
  dropped = dropped + 1
  total = total - #items[dropped]
end
redis.call('LTRIM', key, dropped, -1)
return dropped
