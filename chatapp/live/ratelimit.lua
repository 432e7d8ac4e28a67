-- One request of a user against the limit: the generic cell rate algorithm, on Redis' own clock.
--
-- KEYS  1 ratelimit:<user>
-- ARGV  1 requests   2 window in microseconds
--
-- The key holds the theoretical arrival time (tat): the moment at which all that was taken has been paid back. A whole
-- window's requests may come at once; after that one more is due every window / requests.
-- Answers {allowed, remaining, microseconds until all is paid back, microseconds until one more is allowed}.
local clock = redis.call('TIME')
local now = clock[1] * 1000000 + clock[2]
local requests, window = tonumber(ARGV[1]), tonumber(ARGV[2])
local step = window / requests
local tat = math.max(tonumber(redis.call('GET', KEYS[1]) or 0), now)
if tat > now + window then -- the limit or Redis' clock was changed: nobody waits longer than a window
  tat = now + window
  -- Kept, also when this request is refused: or each one after it would meet the old value, for as long as that lasts.
  redis.call('SET', KEYS[1], string.format('%.0f', tat), 'PX', math.ceil(window / 1000))
end
local wait = tat + step - window - now
-- Half a microsecond: `step` is a fraction, and tat is stored whole.
if wait > 0.5 then
  return {0, 0, math.ceil(tat - now), math.ceil(wait)}
end
tat = tat + step
redis.call('SET', KEYS[1], string.format('%.0f', tat), 'PX', math.ceil((tat - now) / 1000))
return {1, math.max(math.floor((now + window - tat + 0.5) / step), 0), math.ceil(tat - now), 0}
