-- Lets go of a claim, if it is still one's own, and has those look who published what is oldest now.
-- KEYS: values (hash), order (sorted set), bytes (number), claim
-- ARGV: owner, what the names of channels begin with
if redis.call('GET', KEYS[4]) ~= ARGV[1] then
  return 0
end
redis.call('DEL', KEYS[4])
local told = {}
for _, name in ipairs(redis.call('ZRANGE', KEYS[2], 0, 7)) do
  local by = string.sub(redis.call('HGET', KEYS[1], name) or '', 1, 16)
  if #by == 16 and not told[by] then
    told[by] = true
    redis.call('PUBLISH', ARGV[2] .. by, '')
  end
end
return 1
