-- Revokes the sessions of a subject in the shard KEYS[1] that are not revoked yet, but one, with the log KEYS[2]. Says how many there were; that one of them is
-- corrupt, when the others are revoked.
-- ARGV: subject, id to keep or nothing, time, reason.
local subject, keep_id, now, reason = unpack(ARGV)

local revoked = 0
local are_sessions = each_of_subject(KEYS[1], subject, function(id, value, session)
  if id ~= keep_id and session.revoked_at == '-' then
    session.revoked_at, session.reason = now, reason
    revoke(KEYS[1], KEYS[2], id, value, compose(session))
    revoked = revoked + 1
  end
end)
return are_sessions and revoked or corrupt()
