-- Returns the ids that were added to the log KEYS[1] after a place of this server, and the place
-- after them. The place of another server starts again at the first id, because its entry ids mean
-- nothing here.
--
-- ARGV: server, place, maximum number of ids.
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
