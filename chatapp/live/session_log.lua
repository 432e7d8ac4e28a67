-- Appends an event to a session's own log and publishes it, in one call. Redis gives the id, since many may write.
--
-- KEYS  1 events:{sid}.0
-- ARGV  1 channel   2 life in seconds   3 longest length   4 the event's JSON up to its id   5 the rest of it
--
-- An id is <when the log began, Unix seconds>-<seq>: a log that Redis lost begins anew with higher ids.
local last = redis.call('XREVRANGE', KEYS[1], '+', '-', 'COUNT', 1)[1]
local began, seq = redis.call('TIME')[1], 0
if last then
  began, seq = string.match(last[1], '(%d+)-(%d+)')
  seq = tonumber(seq) + 1
end
local id = began .. '-' .. string.format('%d', seq)
local event = ARGV[4] .. '"id":"' .. id .. '","attempt":' .. began .. ',"seq":' .. string.format('%d', seq) .. ',' .. ARGV[5]
redis.call('XADD', KEYS[1], 'MAXLEN', ARGV[3], id, 'e', event)
redis.call('EXPIRE', KEYS[1], ARGV[2])
redis.call('PUBLISH', ARGV[1], event)
return id
