-- Takes a claim that is free, or prolongs one's own; else stands in line for it. How many stand before, -1 with
-- the claim.
-- KEYS: claim, line (sorted set)  ARGV: owner, ms, ms until the line is gone
local holder = redis.call('GET', KEYS[1])
if not holder or holder == ARGV[1] then
  redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
  redis.call('ZREM', KEYS[2], ARGV[1])
  return -1
end
local time = redis.call('TIME')
redis.call('ZADD', KEYS[2], 'NX', time[1] * 1000000 + time[2], ARGV[1])
redis.call('PEXPIRE', KEYS[2], ARGV[3])
return redis.call('ZRANK', KEYS[2], ARGV[1])
