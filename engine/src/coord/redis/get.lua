-- A value, if it is not too long.
-- KEYS: values (hash)  ARGV: name, len_max
if redis.call('HSTRLEN', KEYS[1], ARGV[1]) > tonumber(ARGV[2]) then
  return false
end
return redis.call('HGET', KEYS[1], ARGV[1])
