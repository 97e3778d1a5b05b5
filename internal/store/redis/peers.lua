-- Announces a gateway and lists the other live ones.
-- KEYS: the table. ARGV: ID, milliseconds to live, the gateway's Peer in JSON.
-- Returns the Peers of the others.
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
redis.call('HSET', KEYS[1], ARGV[1], string.format('%.0f', now + tonumber(ARGV[2])) .. ' ' .. ARGV[3])
redis.call('PEXPIRE', KEYS[1], ARGV[2])
local all, others = redis.call('HGETALL', KEYS[1]), {}
for i = 1, #all, 2 do
  local space = string.find(all[i + 1], ' ', 1, true)
  local ends = space and tonumber(string.sub(all[i + 1], 1, space - 1))
  if not ends or ends < now then
    redis.call('HDEL', KEYS[1], all[i])
  elseif all[i] ~= ARGV[1] then
    others[#others + 1] = string.sub(all[i + 1], space + 1)
  end
end
return others
