-- Gives charges back; what exceeds a full bucket is dropped.
-- KEYS: the bucket of each. ARGV, for each, in seconds: how much to give back, the time in which an
-- empty bucket fills, and how far ahead its TAT (see limits_take.lua) may be at most for a refund;
-- below 0: any distance.
-- Returns for each: 1 if it was refunded.
local t = redis.call('TIME')
local now = t[1] - 1483228800 + t[2] / 1000000
local results = {}
for i, key in ipairs(KEYS) do
  local back, whole, within = tonumber(ARGV[3 * i - 2]), tonumber(ARGV[3 * i - 1]), tonumber(ARGV[3 * i])
  local tat = tonumber(redis.call('GET', key) or '')
  local take = tat and (within < 0 or tat - now <= within)
  if take then
    tat = math.min(tat, now + whole) - back
    if tat > now then
      redis.call('SET', key, tat, 'EX', math.ceil(tat - now))
    else
      redis.call('DEL', key)
    end
  end
  results[i] = take and 1 or 0
end
return results
