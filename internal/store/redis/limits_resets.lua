-- Tells of buckets that were made full by hand, and lists those of which the
-- caller has not heard.
-- KEYS: a counter; the names, each by the count at which it was told, on the same
-- slot. ARGV: the count up to which the caller has heard, -1: list none; how many
-- names are kept; milliseconds to live; names to tell.
-- Returns the count, then the names.
local n, heard = tonumber(redis.call('GET', KEYS[1]) or '0'), tonumber(ARGV[1])
if heard > n then
  heard = 0 -- it began anew
end
local names = {}
if heard >= 0 then
  names = redis.call('ZRANGEBYSCORE', KEYS[2], '(' .. heard, '+inf')
end
for i = 4, #ARGV do
  n = redis.call('INCR', KEYS[1])
  redis.call('ZADD', KEYS[2], n, ARGV[i])
end
if #ARGV > 3 then
  redis.call('ZREMRANGEBYRANK', KEYS[2], 0, -1 - ARGV[2])
  redis.call('PEXPIRE', KEYS[1], ARGV[3])
  redis.call('PEXPIRE', KEYS[2], ARGV[3])
end
table.insert(names, 1, tostring(n))
return names
