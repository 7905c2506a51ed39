-- Renew claims, except those that expired or that another front end has claimed since.
-- KEYS: the claims    ARGV: the claimer's reply list, lease_ms
for _, claim in ipairs(KEYS) do
  local waiters = redis.call('GET', claim)
  if waiters and string.match(waiters, '^[^|]+') == ARGV[1] then
    redis.call('PEXPIRE', claim, ARGV[2])
  end
end
