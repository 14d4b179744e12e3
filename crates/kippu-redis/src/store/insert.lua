-- Adds a session to the shard KEYS[1], unless the shard has a session with this id. Within a limit,
-- with the log KEYS[2], it first revokes the oldest sessions of the subject that exceed the limit,
-- as `InsertRequest::decide` decides. Returns the ids that it revoked; 0 for a duplicate id, 1 if
-- the limit rejects the session.
--
-- ARGV: id, value, subject, milliseconds to the absolute end, absolute end; with a limit also the
-- time of the login, how many other sessions may be live, 1 to revoke or 0 to reject, channel.
local id, value, subject, lifetime, absolute = ARGV[1], ARGV[2], ARGV[3], tonumber(ARGV[4]), tonumber(ARGV[5])
local created_at, room, evicts, channel = ARGV[6], tonumber(ARGV[7]), ARGV[8] == '1', ARGV[9]

if find(KEYS[1], id) then
  return 0
end

local left = redis.call('PTTL', KEYS[1])
local evicted = {}
if room then
  local live, now = {}, tonumber(created_at)
  local fault = each_of_subject(KEYS[1], subject, function(other, old, session)
    if session.revoked == '-' and not has_ended(session, now) then
      live[#live + 1] = {id = other, began = tonumber(session.created_at), value = old, session = session}
    end
  end)
  if fault then
    return fault
  end
  if #live > room and not evicts then
    return 1
  end
  if #live > room then
    sort(live)
  end
  for oldest = 1, #live - room do
    local out = live[oldest]
    out.session.revoked = created_at .. ':limit'
    revoke(KEYS[1], KEYS[2], out.id, out.value, compose(out.session), channel)
    evicted[oldest] = out.id
  end
end

-- The shard expires a year after the last of its sessions has ended, so that a clock of the server
-- that is wrong by less than a year removes no session. If an operator has removed the expiry of a
-- shard, it keeps none.
local YEAR = 366 * 86400000
local kept = math.max(lifetime, absolute - CLOCK / 1000) + YEAR
redis.call('ZADD', KEYS[1], 0, id .. ' ' .. value, 0, index_of(subject) .. id)
if left == -2 or (left >= 0 and left < kept) then
  -- tostring() would write 1.7e+12.
  redis.call('PEXPIRE', KEYS[1], string.format('%.0f', kept))
end
return evicted
