-- Removes the ids from the log KEYS[1] that are older than so many milliseconds by the server's clock. Says how many there were. A
-- log that is empty stays, and so does its last place.
-- ARGV: milliseconds.
local oldest = math.floor(CLOCK / 1000) - tonumber(ARGV[1])
if oldest <= 0 then
  return 0
end
return redis.call('XTRIM', KEYS[1], 'MINID', string.format('%.0f', oldest))
