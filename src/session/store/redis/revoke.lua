-- Revokes a session that is not revoked yet. Says whether there was one.
-- ARGV: id, time, reason.
local id, now, reason = unpack(ARGV)

local value = redis.call('HGET', KEYS[1], id)
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
redis.call('HSET', KEYS[1], id, compose(kept_until(value), session))
return 1
