-- Raises and charges buckets unconditionally, but never beyond empty.
-- KEYS, for each: its bucket and, if something is charged, the marker that it was. ARGV, for each,
-- in seconds: the time in which an empty bucket fills, the least distance of its TAT (see
-- limits_take.lua), how much to charge on top.
-- Returns for each the microseconds until the bucket is full.
local t = redis.call('TIME')
local now = t[1] - 1483228800 + t[2] / 1000000
local results, k = {}, 1
for a = 1, #ARGV, 3 do
  local key, whole, least, add = KEYS[k], tonumber(ARGV[a]), tonumber(ARGV[a + 1]), tonumber(ARGV[a + 2])
  k = k + 1
  if add > 0 then
    if not redis.call('SET', KEYS[k], 1, 'NX', 'PX', 600000) then
      add = 0
    end
    k = k + 1
  end
  local tat = redis.pcall('GET', key)
  if type(tat) ~= 'table' then
    tat = math.max(tonumber(tat or '') or now, now + math.max(least, 0)) + add
    if not (tat <= now + whole) then
      tat = now + whole
    end
    if tat > now then
      redis.call('SET', key, tat, 'EX', math.ceil(tat - now))
    end
  elseif string.find(tat.err, 'WRONGTYPE', 1, true) then
    tat = now + least -- no bucket: it must not stop the other settlements
  else
    return tat
  end
  results[#results + 1] = math.max(math.floor((tat - now) * 1e6 + 0.5), 0)
end
return results
