-- Ends a fill, and with it what was told of it.
-- KEYS: the fill, its body. ARGV: owner.
if redis.call('HGET', KEYS[1], 'owner') == ARGV[1] then
  redis.call('DEL', KEYS[1], KEYS[2])
end
return 1
