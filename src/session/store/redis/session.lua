-- What the steps share. KEYS[1] is a shard: a hash with one field a session, the id its name, and its value
--
--     kept_until 1 generation rotated_at expires_at revoked_at reason kid_length\n
--     kid absolute_expires_at created_at client_length label_length\n
--     client label subject
--
-- on three lines here, where there is no break before `kid` but the \n, and none between the texts, which are
-- as long as the numbers say. `-` is nothing. `1` is the version of this layout. `kept_until` is a time of the server's
-- clock, after which the field is garbage; nothing else is compared with that clock.
local MUTABLE = '^%d+ 1 (%d+) (%-?%d+) (%-?%d+) (%S+) (%S+) (%d+)\n()'
local FIXED = '^(%-?%d+) (%-?%d+) (%d+) (%S+)\n()'

-- A difference between clocks, or a clock set right, takes no session away in less than a day.
local SLACK = 86400000

-- The parts of a value, nothing if it is none. Numbers stay texts, so that they are written back as they were.
local function parse(value)
  local generation, rotated_at, expires_at, revoked_at, reason, kid_length, kid_at = string.match(value, MUTABLE)
  if not kid_at then
    return nil
  end
  local kid_end = kid_at + tonumber(kid_length)
  local fixed = string.sub(value, kid_end)
  local absolute_expires_at, created_at, client_length, label_length, client_at = string.match(fixed, FIXED)
  if not client_at then
    return nil
  end
  return {
    generation = generation,
    rotated_at = rotated_at,
    expires_at = expires_at,
    revoked_at = revoked_at,
    reason = reason,
    kid = string.sub(value, kid_at, kid_end - 1),
    absolute_expires_at = absolute_expires_at,
    subject = string.sub(fixed, client_at + tonumber(client_length) + (tonumber(label_length) or 0)),
    fixed = fixed,
  }
end

local function compose(kept_until, session)
  return table.concat({
    kept_until, '1', session.generation, session.rotated_at, session.expires_at, session.revoked_at, session.reason,
    #session.kid .. '\n' .. session.kid .. session.fixed,
  }, ' ')
end

local function kept_until(value)
  return string.match(value, '^%d+')
end

local function corrupt()
  return redis.error_reply('CORRUPT a session is not what was stored')
end

-- The server's clock, in milliseconds.
local function clock()
  local time = redis.call('TIME')
  return time[1] * 1000 + math.floor(time[2] / 1000)
end

-- When what lives for so many milliseconds more will be garbage.
local function keep(lifetime)
  -- Not tostring(), which writes 1.7e+12.
  return string.format('%.0f', clock() + lifetime + SLACK)
end

-- The ids and the values of a subject's sessions. What is no session belongs to nobody.
local function each_of_subject(subject, visit)
  local fields = redis.call('HGETALL', KEYS[1])
  for i = 1, #fields, 2 do
    local value = fields[i + 1]
    -- The subject comes last: this passes over all others without parsing them.
    if subject == '' or string.sub(value, -#subject) == subject then
      local session = parse(value)
      if session and session.subject == subject then
        visit(fields[i], value, session)
      end
    end
  end
end

