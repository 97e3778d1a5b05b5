-- Common start of the scripts that use the epoch.

-- Starts the table of cache-tag generations if there is none. A table that is lost, or may be an
-- old copy because another process holds it now, starts anew. Its base is then the time in
-- microseconds or, if that is not later because clocks differ, one second above the previous base:
-- so no generation is ever given twice. least is the least base. Returns the base and the run ID of
-- the server, which is empty if the user may not ask for it.
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
