-- Tells whether gateways wait for the moment at which all go Up. One that has
-- passed does not count, although it stands for a while: of two outages in a row
-- the second would else be no reason to leave Redis alone.
-- KEYS: where it stands, in milliseconds and with its incarnation.
-- Returns 1 or 0.
local at = tonumber(string.match(redis.call('GET', KEYS[1]) or '', '^%d+'))
if not at then
  return 0
end
local t = redis.call('TIME')
return at > t[1] * 1000 + math.floor(t[2] / 1000) and 1 or 0
