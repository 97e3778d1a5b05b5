-- Writes the record ARGV[1] at KEYS[1] for ARGV[2] milliseconds, in one step with its safety
-- checks. Returns 1 if it did, 0 if the stored record has the same generation or a later one, -1 if
-- the session was revoked (KEYS[2]).
if redis.call("EXISTS", KEYS[2]) == 1 then
  return -1
end
local stored = redis.call("GET", KEYS[1])
if stored then
  local ok, old = pcall(cjson.decode, stored)
  -- An undecodable record counts as absent.
  if ok and type(old) == "table" and type(old.g) == "number"
      and old.g >= cjson.decode(ARGV[1]).g then
    return 0
  end
end
redis.call("SET", KEYS[1], ARGV[1], "PX", ARGV[2])
return 1
