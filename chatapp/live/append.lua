-- Appends events to a turn's log and publishes them, in one call.
--
-- KEYS  1 events:{sid}.<turn>   2 turns:{sid}   3 owner:{sid}
-- ARGV  1 channel   2 turn   3 owner   4 attempt   5 "1" if the first event may begin a log   6 life of the log in seconds
--       7... pairs of seq, event
--
-- The fence: stream ids must rise, and an id begins with the attempt. An event of an older attempt is STALE.
-- An id that is there already, of the same attempt, is this writer's own, whose answer was lost: skipped.
-- No hole: what does not follow on what is there finds the log LOST, be it gone or (a replica took over) shorter than it was.
-- Its writer then begins anew with all the text so far. What may begin a log may also stand behind a hole.
local last = redis.call('XREVRANGE', KEYS[1], '+', '-', 'COUNT', 1)[1]
local attempt, written = tonumber(ARGV[4]), -1
if last then
  local last_attempt, last_seq = string.match(last[1], '(%d+)-(%d+)')
  if tonumber(last_attempt) > attempt then return 'STALE' end
  if tonumber(last_attempt) == attempt then written = tonumber(last_seq) end
end
if ARGV[5] ~= '1' and (not last or tonumber(ARGV[7]) > written + 1) then return 'LOST' end
for i = 7, #ARGV, 2 do
  if tonumber(ARGV[i]) > written then
    redis.call('XADD', KEYS[1], ARGV[4] .. '-' .. ARGV[i], 'e', ARGV[i + 1])
    redis.call('PUBLISH', ARGV[1], ARGV[i + 1])
  end
end
redis.call('EXPIRE', KEYS[1], ARGV[6])
if ARGV[5] == '1' then
  redis.call('ZADD', KEYS[2], ARGV[2], ARGV[2])
  redis.call('EXPIRE', KEYS[2], 3600)
  -- An empty owner marks a deleted session: a late end must not make it anybody's again.
  if redis.call('GET', KEYS[3]) ~= '' then redis.call('SET', KEYS[3], ARGV[3], 'EX', 3600) end
end
return 'OK'
