-- Notes a socket among its user's, unless the user has as many as are allowed.
--
-- KEYS  1 user_sockets:<user>
-- ARGV  1 member   2 now   3 when the member lapses   4 life of the key in seconds   5 limit (0: none)
--       6... members to drop: of processes that are gone
-- Returns the members that stand in the way; none when the socket is in.
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', ARGV[2])
for i = 6, #ARGV do redis.call('ZREM', KEYS[1], ARGV[i]) end
local limit = tonumber(ARGV[5])
if limit > 0 and redis.call('ZCARD', KEYS[1]) >= limit and not redis.call('ZSCORE', KEYS[1], ARGV[1]) then
  return redis.call('ZRANGE', KEYS[1], 0, -1)
end
redis.call('ZADD', KEYS[1], ARGV[3], ARGV[1])
redis.call('EXPIRE', KEYS[1], ARGV[4])
return {}
