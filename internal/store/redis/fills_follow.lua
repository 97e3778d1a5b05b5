-- Reads along with a fill.
-- KEYS: the fill, its body. ARGV: the position from which the body is wanted.
-- Returns nothing if there is no fill, else the entry ('': not known yet), the body's length, 1 if the
-- body is complete, and the body from there on.
local f = redis.call('HMGET', KEYS[1], 'owner', 'entry', 'length', 'done')
if not f[1] then
  return {}
end
redis.call('HSET', KEYS[1], 'followed', 1)
return { f[2] or '', f[3] or '', f[4] or '', redis.call('GETRANGE', KEYS[2], ARGV[1], -1) }
