-- Sets the time at which all gateways go Up. The first caller sets it; a late caller prolongs the
-- key, so that those after it need not wait either. The time is valid for one incarnation: each
-- gateway detects a later loss by itself.
-- KEYS: the time, in milliseconds, and the epoch. ARGV: how far ahead it is set, and how long the
-- key is kept after that and after the last late caller.
-- Returns the milliseconds until then, 0 for a late caller.
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
