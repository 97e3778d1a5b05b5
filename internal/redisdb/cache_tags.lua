-- Lifts generations and tells all who watch.
-- KEYS: the table. ARGV: seconds to live, then slot, floor, add for each change.
-- Returns the new generations.
local made, told = {}, {}
for i = 2, #ARGV, 3 do
  local now = tonumber(redis.call('HGET', KEYS[1], ARGV[i]) or 0) or 0
  local gen = string.format('%.0f', math.max(now, tonumber(ARGV[i + 1])) + tonumber(ARGV[i + 2]))
  redis.call('HSET', KEYS[1], ARGV[i], gen)
  made[#made + 1] = gen
  told[#told + 1] = ARGV[i] .. ':' .. gen
end
redis.call('EXPIRE', KEYS[1], ARGV[1])
redis.call('PUBLISH', KEYS[1], table.concat(told, ' '))
return made
