-- One step of a circuit breaker, on Redis' own clock: the rules of `Circuit` in circuit.py, for the whole fleet.
--
-- KEYS  1 breaker:{<provider>/<model>}, a hash   2 breaker:{<provider>/<model>}:errors, a ZSET by time
-- ARGV  1 step   2 token of the probe or ''   3 generation in which the call began   4 milliseconds to open for
--       5 errors that are borne   6 window   7 life of a probe   8 life of the keys, in milliseconds
--
-- Answers {state, generation, milliseconds until somebody may be let in, 1 if the caller is the probe, errors in the window}.
local step, token, generation, open_ms = ARGV[1], ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4])
local borne, window, probe_ms, keep = tonumber(ARGV[5]), tonumber(ARGV[6]), tonumber(ARGV[7]), tonumber(ARGV[8])
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)

local kept = redis.call('HMGET', KEYS[1], 'changed', 'open_until', 'probe', 'probe_until')
local changed, open_until = tonumber(kept[1] or 0), tonumber(kept[2] or 0)
local probe, probe_until = kept[3] or '', tonumber(kept[4] or 0)
local holds = token ~= '' and token == probe

local function state()
  if open_until == 0 then return 'closed' end
  return now < open_until and 'open' or 'half_open'
end

local function store()
  redis.call('HSET', KEYS[1], 'changed', string.format('%.0f', changed), 'open_until', string.format('%.0f', open_until),
    'probe', probe, 'probe_until', string.format('%.0f', probe_until))
  redis.call('PEXPIRE', KEYS[1], keep)
end

local function change(until_ms)
  changed, open_until, probe = math.max(now, changed + 1), until_ms, ''
  redis.call('DEL', KEYS[2])
  store()
end

local granted = 0
if step == 'enter' then
  if state() == 'half_open' and (probe == '' or now >= probe_until) then
    granted, probe, probe_until = 1, token, now + probe_ms
    store()
  end
elseif step == 'failed' and holds then
  change(now + open_ms)
elseif step == 'failed' and token == '' and state() == 'closed' and generation >= changed then
  redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', now - window)
  -- A member's name must be its own, or two errors of one millisecond would be one.
  local number = redis.call('HINCRBY', KEYS[1], 'number', 1)
  redis.call('ZADD', KEYS[2], now, number)
  redis.call('PEXPIRE', KEYS[2], window)
  redis.call('PEXPIRE', KEYS[1], keep)
  if redis.call('ZCARD', KEYS[2]) > borne then change(now + open_ms) end
elseif step == 'succeeded' and holds then
  change(0)
elseif step == 'released' and holds then
  probe = ''
  store()
elseif step == 'renewed' and holds then
  probe_until = now + probe_ms
  store()
end

local wait = 0
if state() == 'open' then
  wait = open_until - now
elseif probe ~= '' and probe ~= token then
  wait = math.max(0, probe_until - now)
end
return {state(), changed, wait, granted, redis.call('ZCOUNT', KEYS[2], '(' .. string.format('%.0f', now - window), '+inf')}
