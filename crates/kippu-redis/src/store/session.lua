-- What the steps share. A key is a shard: a sorted set whose scores are all 0, so that its members are in the order of
-- their bytes. A session has two members, which come and go together:
--
--     id 1 generation rotated_at expires_at revoked_at reason kid_length\n
--     kid absolute_expires_at created_at client_length label_length\n
--     client label subject
--
--     ~subject_length:subject id
--
-- The first, on three lines here, has no break before `kid` but the \n, and none between the texts, which are as long as
-- the numbers say. `-` is nothing, and `1` the version of the value, which is all behind `id `. The second, which has no
-- break before its `id`, is the index: the sessions of a subject are neighbours, however many others are in the shard.
local MUTABLE = '^1 (%d+) (%-?%d+) (%-?%d+) (%S+) (%S+) (%d+)\n()'
local FIXED = '^(%-?%d+) (%-?%d+) (%d+) (%S+)\n()'

-- The server's clock, in microseconds. Before Lua's 2^53, until the year 2255.
local TIME = redis.call('TIME')
local CLOCK = TIME[1] * 1000000 + TIME[2]

-- Which server this is, for as long as it is a primary: its name changes when it becomes one. Sixteen digits tell all of them
-- apart.
local REPLICATION = redis.call('INFO', 'replication')
local SERVER = string.match(REPLICATION, '\nmaster_replid:(%x%x%x%x%x%x%x%x%x%x%x%x%x%x%x%x)')

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

local function compose(session)
  return table.concat({
    '1', session.generation, session.rotated_at, session.expires_at, session.revoked_at, session.reason,
    #session.kid .. '\n' .. session.kid .. session.fixed,
  }, ' ')
end

-- Whether a session has ended by its age, whose value is that from `at` on. It reads no more of it than that needs, for
-- those who look through many; what is no session has not ended.
local function is_expired(value, now, at)
  local expires_at, kid_length, kid_at = string.match(value, '^1 %d+ %-?%d+ (%-?%d+) %S+ %S+ (%d+)\n()', at)
  local absolute_expires_at = kid_at and string.match(value, '^%-?%d+', kid_at + tonumber(kid_length))
  return absolute_expires_at and (now >= tonumber(expires_at) or now >= tonumber(absolute_expires_at))
end

-- What all entries of a subject begin with, and those of no other subject.
local function index_of(subject)
  return '~' .. #subject .. ':' .. subject
end

-- An operator who takes away a permission shall not take away the half of a step with it.
local function require_permission(command, ...)
  if not redis.acl_check_cmd(command, ...) then
    error(redis.error_reply('NOPERM the user of the store may not run ' .. command))
  end
end

local function replace(key, id, old, new)
  require_permission('ZADD', key, '0', id)
  redis.call('ZREM', key, id .. ' ' .. old)
  redis.call('ZADD', key, 0, id .. ' ' .. new)
end

-- Revokes a session that is not revoked yet: replaces its value, and writes its id into the log of ended sessions.
local function revoke(key, log, id, old, new)
  require_permission('XADD', log, '*', 'id', id)
  replace(key, id, old, new)
  redis.call('XADD', log, '*', 'id', id)
end

-- Brings a shard into this layout that was written by the first one: a hash of ids and values, each behind a time and a
-- blank. In one piece, so that it is in one of the layouts for everybody. The servers that know the first layout alone
-- find the wrong type from then on, and fail.
local function adopt(key)
  local fields = redis.call('HGETALL', key)
  local left = redis.call('PTTL', key)
  redis.call('DEL', key)
  for i = 1, #fields, 2 do
    local id, value = fields[i], (string.gsub(fields[i + 1], '^%d+ ', '', 1))
    local session = parse(value)
    redis.call('ZADD', key, 0, id .. ' ' .. value)
    if session then
      redis.call('ZADD', key, 0, index_of(session.subject) .. id)
    end
  end
  if left >= 0 then
    redis.call('PEXPIRE', key, left)
  end
end

-- Up to `count` members from `first` to `last`, as ZRANGE BYLEX takes them; -1 is all.
local function range(key, first, last, count)
  local found = redis.pcall('ZRANGE', key, first, last, 'BYLEX', 'LIMIT', 0, count)
  if not found.err then
    return found
  end
  if not string.find(found.err, '^WRONGTYPE') then
    error(found)
  end
  adopt(key)
  return redis.call('ZRANGE', key, first, last, 'BYLEX', 'LIMIT', 0, count)
end

-- Removes a session with its place in the index if it had ended at `now`. Says whether it did.
local function remove_expired(key, member, now)
  local blank = string.find(member, ' ', 1, true)
  if not (blank and is_expired(member, now, blank + 1)) then
    return false
  end
  local session = parse(string.sub(member, blank + 1))
  return session and redis.call('ZREM', key, member, index_of(session.subject) .. string.sub(member, 1, blank - 1)) > 0
end

-- The value of a session, nil if there is none.
local function find(key, id)
  -- ! is the next byte after the blank.
  local member = range(key, '[' .. id .. ' ', '(' .. id .. '!', 1)[1]
  return member and string.sub(member, #id + 2)
end

local function corrupt()
  return redis.error_reply('CORRUPT a session is not what was stored')
end

-- Visits the sessions of a subject. Says whether all of them are sessions.
local function each_of_subject(key, subject, visit)
  local prefix, are_sessions = index_of(subject), true
  -- { is behind all that an id is written with.
  for _, entry in ipairs(range(key, '[' .. prefix, '(' .. prefix .. '{', -1)) do
    local id = string.sub(entry, #prefix + 1)
    local value = find(key, id)
    local session = value and parse(value)
    if session and session.subject == subject then
      visit(id, value, session)
    else
      are_sessions = false
    end
  end
  return are_sessions
end

-- Answers with the clock, the server, and what the step says, unless this is a replica: one that takes writes runs scripts
-- too.
local function answer(step)
  if not string.find(REPLICATION, '\nrole:master\r', 1, true) then
    return redis.error_reply('READONLY this Redis is a replica')
  end
  local said = step()
  if type(said) == 'table' and said.err then
    return said
  end
  return {CLOCK, SERVER, said}
end

