-- Rotates a live session if the token is the current one, or is ahead of it and the policy heals
-- that. Then it returns the previous generation and the new end. Returns AGAIN if the wait cannot
-- be measured. In all other cases it returns the unchanged session, on which
-- `RotateRequest::decide` decides, or nil if there is none.
--
-- ARGV: id, generation, next generation, 1 to heal or 0, kid, now; the time of the rotation and the
-- idle end, both for a call that does not wait; the new auth_time or an empty text; a = and the new
-- data, or an empty text; the server, the earliest time of the call by that server's clock, how
-- long the call may have waited.
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

-- The clock was set, or it is another server's. The caller tries again with the clock that this
-- answer shows.
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
-- The session's own idle lifetime takes precedence over the request's.
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
