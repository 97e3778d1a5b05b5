-- Lifts generations and tells all who watch. A table that is new begins from the
-- time, in microseconds: so no generation is ever given twice, whatever was lost.
-- KEYS: the epoch, whose fields the generations are, so that neither is lost without
-- the other. ARGV: the channel, milliseconds to live, what the table begins from at
-- least, then slot, floor, add for each change.
-- Returns what the table began from, then the new generations.
local base = tonumber(redis.call('HGET', KEYS[1], 'base') or 0) or 0
if base == 0 or base < tonumber(ARGV[3]) then
  local t = redis.call('TIME')
  base = math.max(t[1] * 1000000 + t[2], tonumber(ARGV[3]))
  redis.call('HSET', KEYS[1], 'base', string.format('%.0f', base))
  redis.call('PEXPIRE', KEYS[1], ARGV[2])
end
local made, told = { string.format('%.0f', base) }, {}
for i = 4, #ARGV, 3 do
  local now = tonumber(redis.call('HGET', KEYS[1], ARGV[i]) or base) or base
  local gen = string.format('%.0f', math.max(now, tonumber(ARGV[i + 1])) + tonumber(ARGV[i + 2]))
  redis.call('HSET', KEYS[1], ARGV[i], gen)
  made[#made + 1] = gen
  told[#told + 1] = ARGV[i] .. ':' .. gen
end
redis.call('PUBLISH', ARGV[1], table.concat(told, ' '))
return made
