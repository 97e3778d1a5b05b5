-- Writes KEYS[1] for ARGV[1] milliseconds: what a server that is read-only, full
-- or paused refuses, while it would answer PING.
return redis.call("SET", KEYS[1], "1", "PX", ARGV[1])
