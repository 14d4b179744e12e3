-- Revokes the sessions of a subject that are not revoked yet, but one. Says how many there were.
-- ARGV: subject, id to keep or nothing, time, reason.
local subject, keep_id, now, reason = unpack(ARGV)

local revoked = 0
each_of_subject(subject, function(id, value, session)
  if id ~= keep_id and session.revoked_at == '-' then
    session.revoked_at, session.reason = now, reason
    redis.call('HSET', KEYS[1], id, compose(kept_until(value), session))
    revoked = revoked + 1
  end
end)
return revoked
