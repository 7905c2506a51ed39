-- Give up claims that no job will serve; those that another front end has claimed since stay.
-- KEYS: the claims    ARGV: the claimer's reply list
-- Returns for each claim the reply lists that wait for it, the claimer's own first
local waiting = {}
for i, claim in ipairs(KEYS) do
  local waiters = {}
  for waiter in string.gmatch(redis.call('GET', claim) or '', '[^|]+') do
    waiters[#waiters + 1] = waiter
  end
  if waiters[1] == ARGV[1] then redis.call('UNLINK', claim) else waiters = {} end
  waiting[i] = waiters
end
return waiting
