-- Replaces a session if it is as it was seen.
-- ARGV: id, value seen and new value, both without `kept_until`; milliseconds to the end, empty if it stays.
local id, seen, new, lifetime = unpack(ARGV)

local value = redis.call('HGET', KEYS[1], id)
if not value then
  return 0
end
local kept = kept_until(value)
if not kept or string.sub(value, #kept + 2) ~= seen then
  return 0
end
if lifetime ~= '' then
  kept = keep(tonumber(lifetime))
end
redis.call('HSET', KEYS[1], id, kept .. ' ' .. new)
return 1
