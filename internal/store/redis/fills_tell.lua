-- Adds to a fill.
-- KEYS: the fill, its body. ARGV: owner, milliseconds until it ends by itself, the entry ('': told
-- before), the body's length, position and text of more of the body, 1 if all of it is there to be told.
-- Returns 1 if somebody reads along, 0 if nobody does, -1 if the fill is not this owner's any more.
local f = redis.call('HMGET', KEYS[1], 'owner', 'followed')
if f[1] ~= ARGV[1] then
  return -1
end
local done = ARGV[7] == '1'
if done and not f[2] then
  redis.call('DEL', KEYS[1], KEYS[2])
  return 0
end
if ARGV[3] ~= '' then
  redis.call('HSET', KEYS[1], 'entry', ARGV[3], 'length', ARGV[4])
end
local at = tonumber(ARGV[5])
if ARGV[6] ~= '' and redis.call('STRLEN', KEYS[2]) == at then
  redis.call('APPEND', KEYS[2], ARGV[6])
end
if done and redis.call('STRLEN', KEYS[2]) == tonumber(ARGV[4]) then
  redis.call('HSET', KEYS[1], 'done', 1)
end
redis.call('PEXPIRE', KEYS[1], ARGV[2])
redis.call('PEXPIRE', KEYS[2], ARGV[2])
return f[2] and 1 or 0
