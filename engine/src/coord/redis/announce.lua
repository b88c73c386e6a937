-- Shows a note until its end, or takes it away; those that end soonest go where there are too many.
-- KEYS: notes (hash), ends (sorted set)  ARGV: name, note, ms (0 = take away), count_max, ms until they are gone
local notes, ends = KEYS[1], KEYS[2]
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local over = redis.call('ZRANGEBYSCORE', ends, '-inf', now, 'LIMIT', 0, 256)
for _, name in ipairs(over) do
  redis.call('HDEL', notes, name)
  redis.call('ZREM', ends, name)
end
-- One of the two was evicted or meddled with.
if redis.call('ZCARD', ends) ~= redis.call('HLEN', notes) then
  redis.call('DEL', notes, ends)
end
if tonumber(ARGV[3]) == 0 then
  redis.call('HDEL', notes, ARGV[1])
  redis.call('ZREM', ends, ARGV[1])
  return 1
end
redis.call('HSET', notes, ARGV[1], ARGV[2])
redis.call('ZADD', ends, now + ARGV[3], ARGV[1])
for count = redis.call('ZCARD', ends), ARGV[4] + 1, -1 do
  local soonest = redis.call('ZRANGE', ends, 0, 0)[1]
  redis.call('HDEL', notes, soonest)
  redis.call('ZREM', ends, soonest)
end
redis.call('PEXPIRE', notes, ARGV[5])
redis.call('PEXPIRE', ends, ARGV[5])
return 1
