-- Counts an epoch up. That is a write: what a server that is read-only, full or
-- paused refuses, while it would answer PING.
-- KEYS: a hash of an incarnation, a counter, the moment from which generations of
-- cache tags are counted, and these. ARGV: milliseconds to live, the
-- incarnation that a store without one gets, one that must not stay, a counter
-- to exceed.
-- Returns the incarnation, the counter, and the name of the server's process,
-- which is empty where the user may not ask for it.
local found = redis.call('HMGET', KEYS[1], 'incarnation', 'counter', 'base')
local incarnation, counter, base = found[1], tonumber(found[2] or 0) or 0, found[3]
-- What an old copy has of the generations of cache tags is not all that was given.
if not base or counter < tonumber(ARGV[4]) then
  local t = redis.call('TIME')
  redis.call('HSET', KEYS[1], 'base', string.format('%.0f', math.max(t[1] * 1000000 + t[2], tonumber(base or 0) or 0)))
end
if not incarnation or incarnation == ARGV[3] then
  incarnation = ARGV[2]
end
counter = math.max(counter, tonumber(ARGV[4])) + 1
redis.call('HSET', KEYS[1], 'incarnation', incarnation, 'counter', string.format('%.0f', counter))
redis.call('PEXPIRE', KEYS[1], ARGV[1])
local info = redis.pcall('INFO', 'server')
local run = type(info) == 'string' and string.match(info, 'run_id:(%x+)') or ''
return { incarnation, counter, run }
