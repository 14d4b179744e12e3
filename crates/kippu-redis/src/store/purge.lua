-- Removes the sessions that have ended both by the caller's clock and by the server's from the
-- shards KEYS. Begins with the shard KEYS[ARGV[3]] at the member ARGV[4]. Returns how many it
-- removed, and the shard and the member to continue from. After the last shard, that is one more
-- than the number of keys.
--
-- ARGV: now, maximum number, shard to begin with, first member in it as ZRANGE BYLEX takes it.
local now, limit, number, first = math.min(tonumber(ARGV[1]), CLOCK / 1000), tonumber(ARGV[2]), tonumber(ARGV[3]), ARGV[4]

-- How many members a step reads. One step takes half a millisecond, however many members a shard
-- has.
local ENOUGH = 250

local removed, seen = 0, 0

-- Redis does not undo removals when a script fails. A step that has removed sessions therefore ends
-- before data that it cannot read, so that they are counted. The next step begins there and fails.
local function attempt(action, ...)
  if removed == 0 then
    return true, action(...)
  end
  return pcall(action, ...)
end

while number <= #KEYS and seen < ENOUGH do
  -- The index entries sort after all sessions.
  local wanted = ENOUGH - seen
  local ok, members = attempt(range, KEYS[number], first, '(~', wanted)
  if not ok then
    return {removed, number, first}
  end
  for _, member in ipairs(members) do
    if removed == limit then
      return {removed, number, first}
    end
    local ok, was_removed = attempt(remove_expired, KEYS[number], member, now)
    if not ok then
      return {removed, number, first}
    end
    if was_removed then
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
