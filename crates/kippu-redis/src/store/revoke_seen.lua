-- Replaces a session of the shard KEYS[1] by its revoked value if its value is still the one that
-- the caller has seen, and writes its id into the log KEYS[2]. Returns 1 if it was, else 0.
--
-- ARGV: id, value seen, new value, channel.
local id, seen, new, channel = unpack(ARGV)

if find(KEYS[1], id) ~= seen then
  return 0
end
revoke(KEYS[1], KEYS[2], id, seen, new, channel)
return 1
