-- Replaces a session of the shard KEYS[1] by one that is revoked if it is as it was seen, with the log KEYS[2]. Says whether it
-- was.
-- ARGV: id, value seen, new value, channel.
local id, seen, new, channel = unpack(ARGV)

if find(KEYS[1], id) ~= seen then
  return 0
end
revoke(KEYS[1], KEYS[2], id, seen, new, channel)
return 1
