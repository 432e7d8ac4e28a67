-- A step of who asks an API: only the holder of the lease may take it.
-- KEYS[1] the lease; ARGV: token, milliseconds, step (renew | failed | done). Returns 1, or 0 when it is not the holder's any more.
if redis.call('GET', KEYS[1]) ~= ARGV[1] then
  return 0
end
if ARGV[3] == 'renew' then
  redis.call('PEXPIRE', KEYS[1], ARGV[2])
elseif ARGV[3] == 'failed' then
  redis.call('SET', KEYS[1], 'failed', 'PX', ARGV[2])
else
  redis.call('DEL', KEYS[1])
end
return 1
