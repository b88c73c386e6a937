-- Takes settled offers away, and tells whoever waits, who need not stand in line any more.
-- KEYS: values (hash), order (sorted set), bytes (number), line (sorted set)
-- ARGV: how many names, names..., then channel and message, in turn
local values, order, bytes, line = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local last = tonumber(ARGV[1]) + 1
for at = 2, last do
  if redis.call('ZREM', order, ARGV[at]) == 1 then
    if redis.call('EXISTS', bytes) == 1 then
      redis.call('DECRBY', bytes, redis.call('HSTRLEN', values, ARGV[at]))
    end
    redis.call('HDEL', values, ARGV[at])
  end
end
for at = last + 1, #ARGV, 2 do
  redis.call('ZREM', line, string.sub(ARGV[at], -16))
  redis.call('PUBLISH', ARGV[at], ARGV[at + 1])
end
return 1
