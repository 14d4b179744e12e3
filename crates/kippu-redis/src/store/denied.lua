#!lua flags=allow-oom
-- Returns the commands that the user may not run on the keys of a step. Checks first the commands
-- that every step needs; if the user may run all of them, checks the ones that convert the first
-- layout.
--
-- ARGV: channel, empty if the steps send no messages.
local denied = {}
local needed = {
  {
    {'INFO', 'replication'},
    {'PEXPIRE', KEYS[1], '1'},
    {'PTTL', KEYS[1]},
    {'TIME'},
    {'XADD', KEYS[#KEYS], '*', 'id', ''},
    {'XRANGE', KEYS[#KEYS], '-', '+'},
    {'XTRIM', KEYS[#KEYS], 'MINID', '0'},
    {'ZADD', KEYS[1], '0', ''},
    {'ZRANGE', KEYS[1], '-', '+', 'BYLEX'},
    {'ZREM', KEYS[1], ''},
  },
  {
    {'DEL', KEYS[1]},
    {'HGETALL', KEYS[1]},
  },
}
if ARGV[1] ~= '' then
  table.insert(needed[1], {'PUBLISH', ARGV[1], ''})
end
for _, commands in ipairs(needed) do
  for _, command in ipairs(commands) do
    if not redis.acl_check_cmd(unpack(command)) then
      denied[#denied + 1] = command[1]
    end
  end
  if #denied > 0 then
    break
  end
end
return denied
