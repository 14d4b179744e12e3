-- Replaces a session of the shard KEYS[1] if it is as it was seen. Says whether it was.
-- ARGV: id, value seen, new value.
local id, seen, new = unpack(ARGV)

if find(KEYS[1], id) ~= seen then
  return 0
end
replace(KEYS[1], id, seen, new)
return 1
