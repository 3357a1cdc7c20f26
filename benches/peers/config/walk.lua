-- What wrk asks for: the sessions PREFIX000000000000 and on, COUNT of them again and again; or, with a COUNT of 0, new
-- ones all the time. Arguments: PREFIX COUNT SPACE…, of which the spaces are asked in turn. Says at the end how it went, in
-- one line for the bench.

local before
local afters = {}
local number, count, spaces = -1, 0, 0

function init(arguments)
    local prefix = arguments[1]
    count = tonumber(arguments[2])
    -- Formatted once: what wrk does for a request is not to be dear.
    for turn = 3, #arguments do
        wrk.headers["monime-space-id"] = arguments[turn]
        local text = wrk.format("GET", "/v1/checkout-sessions/" .. prefix .. "@")
        local at = string.find(text, "@", 1, true)
        before, afters[turn - 3] = string.sub(text, 1, at - 1), string.sub(text, at + 1)
    end
    spaces = #arguments - 2
end

function request()
    number = number + 1
    if number == count then
        number = 0
    end
    return before .. string.format("%012d", number) .. afters[number % spaces]
end

function done(summary, latency)
    local errors = summary.errors
    local socket = errors.connect + errors.read + errors.write + errors.timeout
    local slow = latency:percentile(99)
    io.write(string.format("peers: %d %d %d %d %d\n", summary.requests, summary.duration, errors.status, socket, slow))
end
