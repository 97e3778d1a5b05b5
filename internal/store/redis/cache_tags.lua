-- Raises generations and publishes them.
-- KEYS: the epoch's hash, which also holds the generations, so that both are lost together; then
-- for each change the key of its ID, or the epoch's if it has none. ARGV: the channel, milliseconds
-- to live, milliseconds to keep an ID, the least base of the table, then slot, floor, add, above
-- for each change.
-- Returns and publishes the table's base, the number of this change in it, then SLOT:GEN for each.
local base = begin(KEYS[1], tonumber(ARGV[4]), false)
redis.call('PEXPIRE', KEYS[1], ARGV[2])
local text = string.format('%.0f', base)
local made = { text, redis.call('HINCRBY', KEYS[1], 'seq', 1) }
for i = 5, #ARGV, 4 do
  local field, floor, add = ARGV[i], tonumber(ARGV[i + 1]), tonumber(ARGV[i + 2])
  local least, id = base, KEYS[(i - 5) / 4 + 2]
  if floor < base and add == 0 then
    field, least = 'was:' .. field, 0
  elseif id ~= KEYS[1] then
    if redis.call('GET', id) == text then
      floor, add = tonumber(ARGV[i + 3]) + add, 0
    end
    redis.call('SET', id, text, 'PX', ARGV[3]) -- with the base: after a loss of the table, the purge is made again
  end
  local now = math.max(tonumber(redis.call('HGET', KEYS[1], field) or 0) or 0, least)
  local gen = string.format('%.0f', math.max(now, floor) + add)
  redis.call('HSET', KEYS[1], field, gen)
  made[#made + 1] = ARGV[i] .. ':' .. gen
end
made = table.concat(made, ' ')
redis.call('PUBLISH', ARGV[1], made)
return made
