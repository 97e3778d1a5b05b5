-- Makes a fill of a response this owner's, unless there is one already.
-- KEYS: the fill, its body. ARGV: owner, milliseconds until it ends by itself.
-- Returns 1 if the fill is this owner's.
if redis.call('EXISTS', KEYS[1]) == 1 then
  return 0
end
redis.call('DEL', KEYS[2])
redis.call('HSET', KEYS[1], 'owner', ARGV[1])
redis.call('PEXPIRE', KEYS[1], ARGV[2])
return 1
