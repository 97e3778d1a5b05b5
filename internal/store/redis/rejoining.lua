-- Tells whether gateways are waiting for the common time to go Up. A time that has passed does not
-- count, although its key is kept for a while: otherwise, after the second of two outages in a row,
-- Redis would not be left alone.
-- KEYS: the time, in milliseconds and with its incarnation.
-- Returns 1 or 0.
local at = tonumber(string.match(redis.call('GET', KEYS[1]) or '', '^%d+'))
if not at then
  return 0
end
local t = redis.call('TIME')
return at > t[1] * 1000 + math.floor(t[2] / 1000) and 1 or 0
