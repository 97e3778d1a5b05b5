-- Announces buckets that an administrator has filled, and lists those that are new to the caller.
-- KEYS: a counter; the names, scored by the count at which each was announced, in the same slot.
-- ARGV: the count up to which the caller knows them, -1: list none; how many names to keep;
-- milliseconds to live; names to announce.
-- Returns the count, then the names.
local n, heard = tonumber(redis.call('GET', KEYS[1]) or '0'), tonumber(ARGV[1])
if heard > n then
  heard = 0 -- the counter was lost and started anew
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
