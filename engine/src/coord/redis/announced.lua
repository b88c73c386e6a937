-- Names and notes that are not over, in turn.
-- KEYS: notes (hash), ends (sorted set)  ARGV: count_max
local notes, ends = KEYS[1], KEYS[2]
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local names = redis.call('ZRANGEBYSCORE', ends, '(' .. now, '+inf', 'LIMIT', 0, ARGV[1])
local found = {}
for from = 1, #names, 128 do
  local some = { unpack(names, from, math.min(from + 127, #names)) }
  for at, note in ipairs(redis.call('HMGET', notes, unpack(some))) do
    if note then
      found[#found + 1] = some[at]
      found[#found + 1] = note
    end
  end
end
return found
