-- Lets go of a claim, if it is still one's own, and of a place in line for it. It passes to whoever has stood there
-- longest, who is told.
-- KEYS: claim, line (sorted set)
-- ARGV: owner, what the names of channels begin with, ms that whoever is next has the claim
redis.call('ZREM', KEYS[2], ARGV[1])
if redis.call('GET', KEYS[1]) ~= ARGV[1] then
  return 0
end
local heir = redis.call('ZPOPMIN', KEYS[2])[1]
if not heir then
  redis.call('DEL', KEYS[1])
  return 1
end
redis.call('SET', KEYS[1], heir, 'PX', ARGV[3])
redis.call('PUBLISH', ARGV[2] .. heir, '')
return 1
