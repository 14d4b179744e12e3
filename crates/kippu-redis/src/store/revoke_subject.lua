-- Revokes the sessions of a subject in the shard KEYS[1] that are not revoked yet, except the one
-- to keep, and writes their ids into the log KEYS[2]. Returns how many it revoked. If one of the
-- sessions cannot be read, it revokes the others and returns an error.
--
-- ARGV: subject, id to keep or an empty text, time, reason, channel.
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
