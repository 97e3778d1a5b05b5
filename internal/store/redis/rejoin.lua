-- Names the moment at which all gateways go Up. The first that asks sets it; who
-- comes late sees to it that those who follow go at once too. It is a moment of
-- one incarnation: what is lost after it is found out by each in its time again.
-- KEYS: where it stands, in milliseconds, and the epoch. ARGV: how far ahead it is
-- set, and how long it stands after that, and after the last that came late.
-- Returns the milliseconds until then, 0 for who comes late.
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
local incarnation = redis.call('HGET', KEYS[2], 'incarnation') or ''
local at, of = string.match(redis.call('GET', KEYS[1]) or '', '^(%d+) (.*)$')
at = tonumber(at)
if not at or of ~= incarnation then
  at = now + ARGV[1]
  redis.call('SET', KEYS[1], string.format('%.0f ', at) .. incarnation, 'PX', ARGV[1] + ARGV[2])
elseif at <= now then
  redis.call('PEXPIRE', KEYS[1], ARGV[2])
end
return math.max(at - now, 0)
