-- Every request asks for another URL. The argument tells apart the runs, and id the threads of one.
local threads = 0

function setup(thread)
  threads = threads + 1
  thread:set("id", threads)
end

function init(args)
  run, n = args[1], 0
end

function request()
  n = n + 1
  return wrk.format(nil, wrk.path .. "?miss=" .. run .. "-" .. id .. "-" .. n)
end
