-- Removes the ids from the log KEYS[1] that are older than the given time by the server's clock.
-- Returns how many it removed. An empty log stays, with the id of its last entry.
--
-- ARGV: milliseconds.
local oldest = math.floor(CLOCK / 1000) - tonumber(ARGV[1])
if oldest <= 0 then
  return 0
end
return redis.call('XTRIM', KEYS[1], 'MINID', string.format('%.0f', oldest))
