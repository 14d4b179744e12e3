-- A rotation of a live session whose token is the current one, or ahead of it where that is to be healed. Answers with
-- the generation before and the new end then; with AGAIN when the wait cannot be measured; else with the session as
-- it is, unchanged, about which `RotateRequest::decide` decides; nil if there is none.
-- ARGV: id, generation, next generation, 1 to heal or 0, kid, now, the time of the rotation and the idle end from then
-- on if nothing waits; a server, when the call began at the earliest by its clock, how long it may have waited.
local id, generation, next_generation, heals, kid, now, rotated_at, idle_end, server, began, limit = unpack(ARGV)

local value = find(KEYS[1], id)
if not value then
  return false
end
local session = parse(value)
if not session then
  return corrupt()
end

local is_ahead = heals == '1' and tonumber(session.generation) < tonumber(generation)
if session.revoked_at ~= '-' or is_expired(value, tonumber(now), 1) or not (session.generation == generation or is_ahead) then
  return value
end

-- A clock that was set, or another server's: the wait is measured from what it says now, the next time.
local waited = CLOCK - began
if server ~= SERVER or waited < 0 or waited > tonumber(limit) then
  return {ok = 'AGAIN'}
end

-- The last instant of `UnixMillis`.
local LAST = 9007199254740991
local function after_the_wait(time)
  return string.format('%.0f', math.min(time + math.floor(waited / 1000), LAST))
end

local before = session.generation
session.generation = next_generation
session.kid = kid
session.rotated_at = after_the_wait(rotated_at)
session.expires_at = after_the_wait(idle_end)
if tonumber(session.absolute_expires_at) < tonumber(session.expires_at) then
  session.expires_at = session.absolute_expires_at
end
replace(KEYS[1], id, value, compose(session))
return {before, tonumber(session.expires_at)}
