-- Makes charges, all or none, in redis_rate's format: a key holds its bucket's
-- theoretical arrival time (TAT), in seconds since 2017, and expires then.
-- KEYS: the bucket of each charge. ARGV, for each: the seconds until a token comes back, burst,
-- cost (0: peek, write nothing), extra tokens to take, 1 for a shadow.
-- Returns for each: 1 if its limit admits, tokens left (including the extra ones), extra tokens
-- taken, and in microseconds the time until it would be admitted and until the bucket is full.
local t = redis.call('TIME')
local now = t[1] - 1483228800 + t[2] / 1000000
local charges, stored, tats, refused = {}, {}, {}, false
for i, key in ipairs(KEYS) do
  local a = 5 * i - 4
  local c = { interval = tonumber(ARGV[a]), cost = tonumber(ARGV[a + 2]), extra = tonumber(ARGV[a + 3]) }
  c.whole = c.interval * ARGV[a + 1]
  -- The clock counts microseconds, and sums of such fractions are slightly off.
  c.slack = math.min(1e-6, c.interval / 10)
  if not tats[key] then
    local tat = math.max(tonumber(redis.call('GET', key) or '') or now, now)
    -- A clock was set back, or the limit was another one: such a TAT blocks for no
    -- longer than a whole bucket, from when it is found. A value that is no number ends
    -- here too.
    if not (tat <= now + c.whole + c.slack) then
      tat = now + c.whole
      if c.cost > 0 then
        redis.call('SET', key, tat, 'EX', math.ceil(c.whole))
      end
    end
    stored[key], tats[key] = tat, tat
  end
  local tat = tats[key] + c.interval * c.cost
  local wait = tat - now - c.whole
  if wait <= c.slack then
    c.tat, tats[key] = tat, tat
  else
    c.wait = wait
    refused = refused or ARGV[a + 4] ~= '1'
  end
  charges[i] = c
end
local results = {}
local function micro(seconds) return math.floor(seconds * 1e6 + 0.5) end
for i, key in ipairs(KEYS) do
  local c, extra = charges[i], 0
  local made = c.tat and not refused
  local tat = made and c.tat or (refused and stored or tats)[key]
  local function left(at) return math.max(math.floor((c.whole + c.slack - (at - now)) / c.interval), 0) end
  local remaining = left(tat)
  if made then
    extra = math.min(c.extra, math.floor(left(tats[key]) / 2))
    if extra > 0 then
      tat = tats[key] + c.interval * extra
      tats[key] = tat
    end
    if c.cost + extra > 0 then
      -- A token's time may be shorter than the clock's resolution.
      redis.call('SET', key, tats[key], 'EX', math.max(math.ceil(tats[key] - now), 1))
    end
  end
  for _, n in ipairs({ c.tat and 1 or 0, remaining, extra, c.wait and micro(c.wait) or 0, micro(tat - now) }) do
    results[#results + 1] = n
  end
end
return results
