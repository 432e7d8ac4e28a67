-- Tells the process that holds a socket to let it follow a job, if the socket is that user's.
--
-- KEYS  1 socket_auth:<socket_id>
-- ARGV  1 user   2 order (JSON)
-- Returns how many processes took the order: 0 also for a socket that is unknown or somebody else's.
local entry = redis.call('HMGET', KEYS[1], 'userId', 'process')
if entry[1] ~= ARGV[1] or not entry[2] then return 0 end
return redis.call('PUBLISH', 'ws:' .. entry[2], ARGV[2])
