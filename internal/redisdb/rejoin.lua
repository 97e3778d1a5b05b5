-- Names the moment at which all gateways go Up. The first that asks sets it; who
-- comes late sees to it that those who follow go at once too.
-- KEYS: where it stands, in milliseconds. ARGV: how far ahead it is set, and how
-- long it stands after that, and after the last that came late.
-- Returns the milliseconds until then, 0 for who comes late.
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
local at = tonumber(redis.call('GET', KEYS[1]) or '')
if not at then
  at = now + ARGV[1]
  redis.call('SET', KEYS[1], string.format('%.0f', at), 'PX', ARGV[1] + ARGV[2])
elseif at <= now then
  redis.call('PEXPIRE', KEYS[1], ARGV[2])
end
return math.max(at - now, 0)
