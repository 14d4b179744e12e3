-- Revokes a session that is not revoked yet. Says whether there was one.
-- ARGV: id, time, reason.
local id, now, reason = unpack(ARGV)

local value = find(KEYS[1], id)
if not value then
  return 0
end
local session = parse(value)
if not session then
  return corrupt()
end
if session.revoked_at ~= '-' then
  return 0
end
session.revoked_at, session.reason = now, reason
replace(KEYS[1], id, value, compose(session))
return 1
