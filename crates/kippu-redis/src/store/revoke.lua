-- Revokes a session of the shard KEYS[1] that is not revoked yet, and writes its id into the log
-- KEYS[2]. Returns 1 if there was one, else 0. An unknown id goes into the log, too: its session
-- may have been purged while its access token is still valid.
--
-- ARGV: id, time, reason, channel.
local id, now, reason, channel = unpack(ARGV)

local value = find(KEYS[1], id)
if not value then
  require_log(KEYS[2], id, channel)
  log_ended(KEYS[2], id, channel)
  return 0
end
local session = parse(value)
if not session then
  return unreadable(value)
end
if session.revoked ~= '-' then
  return 0
end
session.revoked = now .. ':' .. reason
revoke(KEYS[1], KEYS[2], id, value, compose(session), channel)
return 1
