-- Stores a variant and moves its set of selecting fields to the front of the key's index, in one
-- step, so that neither exists without the other. KEYS: index, variant. ARGV: fields, entry,
-- milliseconds to live, sets to keep.
redis.call('SET', KEYS[2], ARGV[2], 'PX', ARGV[3])
redis.call('LREM', KEYS[1], 0, ARGV[1])
redis.call('LPUSH', KEYS[1], ARGV[1])
redis.call('LTRIM', KEYS[1], 0, ARGV[4] - 1)
if redis.call('PTTL', KEYS[1]) < tonumber(ARGV[3]) then
  redis.call('PEXPIRE', KEYS[1], ARGV[3])
end
return 1
