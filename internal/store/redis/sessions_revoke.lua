-- Stores at KEYS[1], for ARGV[2] milliseconds, that sessions issued up to ARGV[1] (Unix
-- milliseconds) are revoked, and deletes the record KEYS[2]. Of two revocations the later times are
-- kept. The times are never written as numbers: Lua would round them to 14 digits.
local issued, ttl = ARGV[1], ARGV[2]
local old = redis.call("GET", KEYS[1])
if old and tonumber(old) and tonumber(old) > tonumber(issued) then
  issued = old
end
local left = redis.call("PTTL", KEYS[1])
if left > tonumber(ttl) then
  ttl = string.format("%.0f", left)
end
redis.call("SET", KEYS[1], issued, "PX", ttl)
redis.call("DEL", KEYS[2])
return 1
