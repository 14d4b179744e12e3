-- Removes sessions that are over from the shards KEYS, the first of them KEYS[ARGV[3]]. Says how many, and with which
-- shard to go on: one more than there are when it is through.
-- ARGV: now, how many at most, shard to begin with.
local now, limit, first = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])

-- So many that one step takes about a millisecond.
local ENOUGH = 1000

local removed, seen = 0, 0
for number = first, #KEYS do
  if seen >= ENOUGH then
    return {removed, number}
  end
  local fields = redis.call('HGETALL', KEYS[number])
  seen = seen + #fields / 2
  for i = 1, #fields, 2 do
    local session = parse(fields[i + 1])
    if session and (now >= tonumber(session.expires_at) or now >= tonumber(session.absolute_expires_at)) then
      if removed >= limit then
        return {removed, number}
      end
      redis.call('HDEL', KEYS[number], fields[i])
      removed = removed + 1
    end
  end
end
return {removed, #KEYS + 1}
