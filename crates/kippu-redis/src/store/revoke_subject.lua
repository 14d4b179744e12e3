-- Revokes the sessions of a subject in the shard KEYS[1] that are not revoked yet, but one, with the log KEYS[2]. Says how
-- many there were; that one of them cannot be read, when the others are revoked.
-- ARGV: subject, id to keep or nothing, time, reason, channel.
local subject, keep_id, now, reason, channel = unpack(ARGV)

local revoked = 0
local fault = each_of_subject(KEYS[1], subject, function(id, value, session)
  if id ~= keep_id and session.revoked == '-' then
    session.revoked = now .. ':' .. reason
    revoke(KEYS[1], KEYS[2], id, value, compose(session), channel)
    revoked = revoked + 1
  end
end)
return fault or revoked
