-- Adds a session, unless there is one of its id.
-- ARGV: id, value, subject, milliseconds to its absolute end, its absolute end.
local id, value, subject, lifetime, absolute = ARGV[1], ARGV[2], ARGV[3], tonumber(ARGV[4]), tonumber(ARGV[5])

if find(KEYS[1], id) then
  return 0
end

-- The shard goes a year after the last of its sessions has ended, so that a clock of the server that is set wrong for
-- less than a year takes no session away. A shard that an operator took the expiry from keeps none.
local YEAR = 366 * 86400000
local kept = math.max(lifetime, absolute - CLOCK / 1000) + YEAR
local left = redis.call('PTTL', KEYS[1])
redis.call('ZADD', KEYS[1], 0, id .. ' ' .. value, 0, index_of(subject) .. id)
if left == -2 or (left >= 0 and left < kept) then
  -- Not tostring(), which writes 1.7e+12.
  redis.call('PEXPIRE', KEYS[1], string.format('%.0f', kept))
end
return 1
