-- Replaces a session of the shard KEYS[1] if its value is still the one that the caller has seen.
-- Returns 1 if it was, else 0.
--
-- ARGV: id, value seen, new value.
local id, seen, new = unpack(ARGV)

if find(KEYS[1], id) ~= seen then
  return 0
end
replace(KEYS[1], id, seen, new)
return 1
