-- Puts values in, and the lowest out where there are too many or too many bytes.
-- KEYS: values (hash), order (sorted set), bytes (number)
-- ARGV: count_max, len_max, ms until they are gone, then score ('' = now), name and value of each
local values, order, bytes = KEYS[1], KEYS[2], KEYS[3]
local count_max, len_max = tonumber(ARGV[1]), tonumber(ARGV[2])
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local count = redis.call('ZCARD', order)
local len = tonumber(redis.call('GET', bytes) or '0') or -1
-- One of the three was evicted or meddled with: what is counted would be wrong for ever.
if count ~= redis.call('HLEN', values) or len < 0 or (count > 0 and len == 0) then
  redis.call('DEL', values, order, bytes)
  len = 0
end
for at = 4, #ARGV, 3 do
  local score, name, value = ARGV[at], ARGV[at + 1], ARGV[at + 2]
  if score == '' then
    score = now
  end
  len = len + #value - redis.call('HSTRLEN', values, name)
  redis.call('HSET', values, name, value)
  redis.call('ZADD', order, score, name)
end
count = redis.call('ZCARD', order)
while count > 0 and (count > count_max or len > len_max) do
  local lowest = redis.call('ZRANGE', order, 0, 0)[1]
  len = len - redis.call('HSTRLEN', values, lowest)
  redis.call('HDEL', values, lowest)
  redis.call('ZREM', order, lowest)
  count = count - 1
end
redis.call('SET', bytes, string.format('%.0f', len), 'PX', ARGV[3])
redis.call('PEXPIRE', values, ARGV[3])
redis.call('PEXPIRE', order, ARGV[3])
return 1
