-- Removes sessions from the shards KEYS that have ended, by the caller's clock and the server's. Begins with the shard
-- KEYS[ARGV[3]], from ARGV[4] on. Says how many, and with which shard and from where to go on: one more than there are
-- when it is through.
-- ARGV: now, how many at most, shard to begin with, first member in it as ZRANGE BYLEX takes it.
local now, limit, number, first = math.min(tonumber(ARGV[1]), CLOCK / 1000), tonumber(ARGV[2]), tonumber(ARGV[3]), ARGV[4]

-- So many that one step takes half a millisecond, however many there are in a shard.
local ENOUGH = 250

local removed, seen = 0, 0
while number <= #KEYS and seen < ENOUGH do
  -- The index comes behind all sessions.
  local wanted = ENOUGH - seen
  local members = range(KEYS[number], first, '(~', wanted)
  for _, member in ipairs(members) do
    if removed == limit then
      return {removed, number, first}
    end
    if remove_expired(KEYS[number], member, now) then
      removed = removed + 1
    end
    first = '(' .. member
  end
  seen = seen + #members
  if #members < wanted then
    number, first = number + 1, '-'
  end
end
return {removed, number, first}
