-- wrk's clients post pictures to /predict.
--
-- wrk ... -s load.lua URL -- FOLDER PICTURES RATE CLIENTS
--
-- Without TIMED, RATE 0: as fast as they are answered, all of them in one thread, which is as little work as can be.
--
-- Without TIMED, RATE above 0: so many requests a second, by one timetable, which is even, or that of a Poisson process
-- where ARRIVALS is "random". Who is free takes the next place in it, in one thread again: a thread for each client costs as
-- much as an eighth of the server's own work, on the same processors. How late requests went out is told beside.
--
-- With TIMED each client has a thread of its own and tells of every answer its status and milliseconds. Where RATE is above
-- 0, each has a timetable as well, and the time of an answer counts from when its request was due, so that a server which
-- stalls cannot hide it; that of a refusal counts from when it was sent, since under overload a client is late for its next
-- request whenever it was let in.

local ffi = require("ffi")
ffi.cdef [[
  typedef struct { long seconds; long nanoseconds; } instant;
  int clock_gettime(int clock, instant *now);
]]

local instant = ffi.new("instant")

local function now() -- in milliseconds
  ffi.C.clock_gettime(1, instant)
  return tonumber(instant.seconds) * 1000 + tonumber(instant.nanoseconds) / 1e6
end

local timed, arrivals = os.getenv("TIMED"), os.getenv("ARRIVALS")

local clients = {}

function setup(thread)
  thread:set("number", #clients)
  table.insert(clients, thread)
end

function init(arguments)
  local folder, pictures = arguments[1], tonumber(arguments[2])
  local rate, of = tonumber(arguments[3]), tonumber(arguments[4])
  math.randomseed(number + 1)
  requests = {}
  for i = 0, pictures - 1 do
    local file = assert(io.open(string.format("%s/%04d.jpg", folder, i), "rb"))
    requests[i] = wrk.format("POST", "/predict", { ["Content-Type"] = "image/jpeg" }, file:read("*a"))
    file:close()
  end
  sent, answers, pause = 0, {}, 0
  if rate > 0 and timed then
    pause = 1000 * of / rate
    due = now() + pause * math.random()
  elseif rate > 0 then
    pause = 1000 / rate
    due, places, given, late = now() + 500, {}, 0, {}
  end
end

if timed == "by timetable" then
  function delay()
    return math.max(0, math.floor(due - now()))
  end
elseif arrivals then
  function delay()
    given = given + 1
    places[given] = due
    local wait = math.floor(due - now())
    due = due + pause * (arrivals == "random" and -math.log(1 - math.random()) or 1)
    return math.max(0, wait)
  end
end

function request()
  sent = sent + 1
  if not timed then
    local place = arrivals and places[#late + 1] -- none for the request that wrk looks at before it begins
    if place then -- requests go out in the order of their places
      late[#late + 1] = now() - place
    end
    return requests[sent % (#requests + 1)]
  end
  went = now()
  began = went
  if pause > 0 then
    began = math.max(due, began - pause) -- a client that fell behind by more than one request gives those before up
    due = began + pause * (0.5 + math.random())
  end
  return requests[(sent * 17 + number * 5) % (#requests + 1)]
end

if timed then
  function response(status)
    answers[#answers + 1] = status
    answers[#answers + 1] = now() - (status == 503 and went or began)
  end
end

function done(summary, latency)
  local errors = summary.errors
  local failed = errors.connect + errors.read + errors.write + errors.timeout
  print(string.format("took %.6f seconds, failed %d", summary.duration / 1e6, failed))
  if not timed then
    print(string.format("answers %d, not 200 %d", summary.requests, errors.status))
    print(string.format("p50 %.3f, p99 %.3f", latency:percentile(50) / 1e3, latency:percentile(99) / 1e3))
    if arrivals then
      local late = clients[1]:get("late")
      table.sort(late)
      print(string.format("late p99 %.3f", late[math.ceil(0.99 * #late)]))
    end
    return
  end
  for _, client in ipairs(clients) do
    local answers = client:get("answers")
    for i = 1, #answers, 2 do
      print(string.format("answer %d %.3f", answers[i], answers[i + 1]))
    end
  end
end
