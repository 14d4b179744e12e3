-- The ids that have come into the log KEYS[1] behind a place of this server, or all of them, and the place behind them.
-- ARGV: server, place, how many at most.
local server, place, count = unpack(ARGV)

if server ~= SERVER then
  place = '0-0'
end
local ids = {}
for _, entry in ipairs(redis.call('XRANGE', KEYS[1], '(' .. place, '+', 'COUNT', count)) do
  place = entry[1]
  ids[#ids + 1] = entry[2][2]
end
return {SERVER, place, ids}
