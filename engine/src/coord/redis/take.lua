-- What is visible of others, oldest first, within bounds; what is too old goes.
-- KEYS: values (hash), order (sorted set), bytes (number)
-- ARGV: whose not (16 bytes), count_max, len_max, ms that one is visible
local values, order, bytes = KEYS[1], KEYS[2], KEYS[3]
local but, count_max, len_max = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
local now = redis.call('TIME')
local until_ms = now[1] * 1000 + math.floor(now[2] / 1000) - ARGV[4]
local old = redis.call('ZRANGEBYSCORE', order, '-inf', until_ms, 'LIMIT', 0, 256)
local is_counted = #old > 0 and redis.call('EXISTS', bytes) == 1
for _, name in ipairs(old) do
  if is_counted then
    redis.call('DECRBY', bytes, redis.call('HSTRLEN', values, name))
  end
  redis.call('HDEL', values, name)
  redis.call('ZREM', order, name)
end
local found, len, from = {}, 0, 0
while true do
  local names = redis.call('ZRANGE', order, from, from + 127)
  if #names == 0 then
    return found
  end
  from = from + #names
  for _, value in ipairs(redis.call('HMGET', values, unpack(names))) do
    if value and string.sub(value, 1, 16) ~= but then
      len = len + #value
      if len > len_max or #found >= count_max then
        return found
      end
      found[#found + 1] = value
    end
  end
end
