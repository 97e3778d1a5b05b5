-- What scripts begin with that touch the epoch.

-- Begins the table of the generations of cache tags, if there is none. One that is lost,
-- or may be an old copy since another process holds it now, begins anew, from the time
-- in microseconds, or where that is not later, since clocks differ, from a second above
-- the one before: so no generation is ever given twice. least is what the table begins
-- from at least. Returns that, and the name of the server's process, which is empty where the
-- user may not ask for it.
local function begin(key, least, lost)
  local info = redis.pcall('INFO', 'server')
  local run = type(info) == 'string' and string.match(info, 'run_id:(%x+)') or ''
  local found = redis.call('HMGET', key, 'base', 'run')
  local base = tonumber(found[1] or 0) or 0
  if lost or base == 0 or base < least or found[2] ~= run then
    local t = redis.call('TIME')
    local now, before = t[1] * 1000000 + t[2], math.max(least, base)
    base = now > before and now or before + 1000000
    redis.call('HSET', key, 'base', string.format('%.0f', base), 'run', run)
  end
  return base, run
end
