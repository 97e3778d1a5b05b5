-- Takes charges back; what reaches beyond a full bucket is lost.
-- KEYS: the bucket of each. ARGV, for each, in seconds: how much to take back,
-- the time in which an empty bucket fills, and how far ahead at most its TAT
-- (see limits_take.lua) may be for anything to be taken back; below 0: however far.
-- Returns for each: 1 if it was taken back.
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
