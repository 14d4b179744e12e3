-- The plain case of a rotation: the session is live, and the token is the current one. Answers with the new end
-- then, else with the session as it is, unchanged, about which `RotateRequest::decide` decides; nil if there is none.
-- ARGV: id, generation, next generation, kid, now, the time of the rotation, the idle end from then on.
local id, generation, next_generation, kid, now, rotated_at, idle_end = unpack(ARGV)

local value = redis.call('HGET', KEYS[1], id)
if not value then
  return nil
end
local session = parse(value)
if not session then
  return corrupt()
end

local is_live = session.revoked_at == '-'
  and tonumber(now) < tonumber(session.expires_at)
  and tonumber(now) < tonumber(session.absolute_expires_at)
if not is_live or session.generation ~= generation then
  return value
end

session.generation = next_generation
session.kid = kid
session.rotated_at = rotated_at
session.expires_at = idle_end
if tonumber(session.absolute_expires_at) < tonumber(idle_end) then
  session.expires_at = session.absolute_expires_at
end
redis.call('HSET', KEYS[1], id, compose(keep(session.expires_at - now), session))
return tonumber(session.expires_at)
