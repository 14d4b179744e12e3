-- A rotation of a live session whose token is the current one, or ahead of it where that is to be healed. Answers with
-- the generation before and the new end then; with AGAIN when the wait cannot be measured; else with the session as
-- it is, unchanged, about which `RotateRequest::decide` decides; nil if there is none.
-- ARGV: id, generation, next generation, 1 to heal or 0, kid, now, the time of the rotation and the idle end from then
-- on if nothing waits; the new auth_time or nothing, a = and the new data or nothing; a server, when the call began at the
-- earliest by its clock, how long it may have waited.
local id, generation, next_generation, heals, kid, now, rotated_at, idle_end, auth_time, data, server, began, limit =
  unpack(ARGV)

local value = find(KEYS[1], id)
if not value then
  return false
end
local session = parse(value)
if not session then
  return unreadable(value)
end

local is_ahead = heals == '1' and auth_time == '' and tonumber(session.generation) < tonumber(generation)
if session.revoked ~= '-' or has_ended(session, tonumber(now)) or not (session.generation == generation or is_ahead) then
  return value
end

-- A clock that was set, or another server's: the wait is measured from what it says now, the next time.
local waited = CLOCK - began
if server ~= SERVER or waited < 0 or waited > tonumber(limit) then
  return {ok = 'AGAIN'}
end

-- The last instant of `UnixMillis`.
local LAST = 9007199254740991
local function later(time, millis)
  return string.format('%.0f', math.min(time + millis, LAST))
end

local before, stall = session.generation, math.floor(waited / 1000)
-- The session's own goes before the request's.
local own_idle_lifetime = string.match(session.policy, '^t?(%d+)$')
session.generation = next_generation
session.kid = kid
session.rotated_at = later(rotated_at, stall)
session.expires_at = own_idle_lifetime and later(session.rotated_at, own_idle_lifetime) or later(idle_end, stall)
if tonumber(session.absolute_expires_at) < tonumber(session.expires_at) then
  session.expires_at = session.absolute_expires_at
end
if auth_time ~= '' then
  session.auth_time = auth_time == session.created_at and '-' or auth_time
end
if data ~= '' then
  session.data = string.sub(data, 2)
end
replace(KEYS[1], id, value, compose(session))
return {before, tonumber(session.expires_at)}
