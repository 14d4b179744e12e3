-- Removes sessions that are over from the shards KEYS, the first of them KEYS[ARGV[3]], which is scanned from ARGV[4]
-- on. Says how many, and with which shard and from where to go on: one more than there are when it is through.
-- ARGV: now, how many at most, shard to begin with, cursor in it.
local now, limit, number, cursor = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3]), ARGV[4]

-- So many that one step takes about a millisecond, however many there are in a shard.
local ENOUGH = 1000

local removed, seen = 0, 0
while number <= #KEYS and seen < ENOUGH do
  local next_cursor, fields = unpack(redis.call('HSCAN', KEYS[number], cursor, 'COUNT', ENOUGH))
  seen = seen + #fields / 2
  for i = 1, #fields, 2 do
    local session = parse(fields[i + 1])
    if session and (now >= tonumber(session.expires_at) or now >= tonumber(session.absolute_expires_at)) then
      if removed >= limit then
        return {removed, number, cursor}
      end
      -- What is scanned may come twice.
      removed = removed + redis.call('HDEL', KEYS[number], fields[i])
    end
  end
  cursor = next_cursor
  if cursor == '0' then
    number = number + 1
  end
end
return {removed, number, cursor}
