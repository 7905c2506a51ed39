-- Admit a request within its tenant's and its user's quota, or reject it without charging either.
-- KEYS: the tenant's levels, the user's levels; both carry the tenant's hash tag
-- ARGV: the request's new tokens, then requests and tokens per minute of the tenant and of the
--       user (-1: no limit)
-- Returns 0 if it is admitted, 1 if the tenant's quota is used up, 2 if the user's is
--
-- A level is the fill of a leaky bucket used as a meter (ITU-T I.371); it drains at the quota's
-- rate and holds one minute's amount, which may arrive at once. A level of 0 admits any request;
-- otherwise one with more new tokens than the quota of a minute could never pass.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local cost = {1, tonumber(ARGV[1])}
local limits = {
  {tonumber(ARGV[2]), tonumber(ARGV[3])},
  {tonumber(ARGV[4]), tonumber(ARGV[5])},
}
local levels = {}
for i = 1, 2 do
  local held = redis.call('HMGET', KEYS[i], 'requests', 'tokens', 'at')
  local passed = math.max(0, now - tonumber(held[3] or now)) / 60000
  levels[i] = {}
  for j = 1, 2 do
    local limit = limits[i][j]
    local level = math.max(0, tonumber(held[j] or '0') - passed * math.max(0, limit))
    if limit >= 0 and level > 0 and level + cost[j] > limit then return i end
    levels[i][j] = level
  end
end
for i = 1, 2 do
  local seconds = 0
  for j = 1, 2 do
    local limit = limits[i][j]
    if limit >= 0 then
      levels[i][j] = levels[i][j] + cost[j]
      seconds = math.max(seconds, levels[i][j] / limit * 60)
    end
  end
  if seconds > 0 then
    redis.call('HSET', KEYS[i], 'requests', string.format('%.6f', levels[i][1]),
      'tokens', string.format('%.6f', levels[i][2]), 'at', string.format('%.0f', now))
    redis.call('PEXPIRE', KEYS[i], math.min(86400, math.ceil(seconds) + 1) * 1000)
  end
end
return 0
