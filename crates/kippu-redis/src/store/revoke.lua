-- Revokes a session of the shard KEYS[1] that is not revoked yet, with the log KEYS[2]. Says whether there was one. An id that
-- is not there goes into the log too: its session may have been purged while its access token is valid.
-- ARGV: id, time, reason.
local id, now, reason = unpack(ARGV)

local value = find(KEYS[1], id)
if not value then
  redis.call('XADD', KEYS[2], '*', 'id', id)
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
revoke(KEYS[1], KEYS[2], id, value, compose(session))
return 1
