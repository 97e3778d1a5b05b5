-- Increments an epoch. It has to write: a server that is read-only, full or paused refuses writes,
-- but would answer PING.
-- KEYS: a hash of an incarnation, a counter, and the table of generations. ARGV: milliseconds to
-- live, an incarnation for a store without one, an incarnation to replace, a counter to exceed.
-- Returns the incarnation, the counter, and the name of the server's process.
local found = redis.call('HMGET', KEYS[1], 'incarnation', 'counter')
local incarnation, counter = found[1], tonumber(found[2] or 0) or 0
local lost = not incarnation or incarnation == ARGV[3]
if lost then
  incarnation = ARGV[2]
end
local _, run = begin(KEYS[1], 0, lost)
counter = math.max(counter, tonumber(ARGV[4])) + 1
redis.call('HSET', KEYS[1], 'incarnation', incarnation, 'counter', string.format('%.0f', counter))
redis.call('PEXPIRE', KEYS[1], ARGV[1])
return { incarnation, counter, run }
