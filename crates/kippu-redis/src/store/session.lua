-- What the steps share. A key is a shard: a sorted set whose scores are all 0, so that its members are in the order of
-- their bytes. A session has two members, which are added and removed together:
--
--     id 2 generation rotated_at expires_at absolute_expires_at created_at auth_time revoked policy
--     kid_length data_length client_length label_length\n
--     kid data client label subject
--
--     ~subject_length:subject id
--
-- The first, on three lines here, has one blank before `kid_length`, no break before `kid` but the \n, and none between
-- the texts, which are as long as the numbers say; the data are any bytes. All behind `id ` is the value, and `2` is its
-- version. `-` is nothing, with these meanings:
--
-- * auth_time: that of created_at, which has no other spelling;
-- * revoked: not revoked; else the time, a colon and the reason;
-- * policy: remembered, and no idle lifetime; else a `t` where the session is transient, and the session's own idle
--   lifetime in milliseconds where it has one.
--
-- The second member, which has no break before its `id`, is the index: the sessions of a subject are neighbours, however
-- many others are in the shard.
--
-- A version of kippu that changes this layout adds a member to each shard that it converts: `!` and the number of the
-- layout. The steps below refuse such a shard.
local VALUE = '^2 (%d+) (%-?%d+) (%-?%d+) (%-?%d+) (%-?%d+) (%S+) (%S+) (%S+) (%d+) (%d+) (%d+) (%S+)\n()'

-- Values of version 1 are read, and written as version 2. They have these two lines of numbers, with `kid` between them and
-- client, label and subject at the end.
local MUTABLE_1 = '^1 (%d+) (%-?%d+) (%-?%d+) (%S+) (%S+) (%d+)\n()'
local FIXED_1 = '^(%-?%d+) (%-?%d+) (%d+) (%S+)\n()'

-- The server's clock, in microseconds. Before Lua's 2^53, until the year 2255.
local TIME = redis.call('TIME')
local CLOCK = TIME[1] * 1000000 + TIME[2]

-- Which server this is, for as long as it is a primary: its name changes when it becomes one. Sixteen digits tell all of them
-- apart.
local REPLICATION = redis.call('INFO', 'replication')
local SERVER = string.match(REPLICATION, '\nmaster_replid:(%x%x%x%x%x%x%x%x%x%x%x%x%x%x%x%x)')

local function subject_of(session)
  return string.sub(session.texts, tonumber(session.client_length) + (tonumber(session.label_length) or 0) + 1)
end

local function parse_1(value)
  local generation, rotated_at, expires_at, revoked_at, reason, kid_length, kid_at = string.match(value, MUTABLE_1)
  if not kid_at or (revoked_at == '-') ~= (reason == '-') then
    return nil
  end
  local kid_end = kid_at + tonumber(kid_length)
  local fixed = string.sub(value, kid_end)
  local absolute_expires_at, created_at, client_length, label_length, client_at = string.match(fixed, FIXED_1)
  if not client_at then
    return nil
  end
  return {
    generation = generation,
    rotated_at = rotated_at,
    expires_at = expires_at,
    absolute_expires_at = absolute_expires_at,
    created_at = created_at,
    auth_time = '-',
    revoked = revoked_at == '-' and '-' or revoked_at .. ':' .. reason,
    policy = '-',
    client_length = client_length,
    label_length = label_length,
    kid = string.sub(value, kid_at, kid_end - 1),
    data = '',
    texts = string.sub(fixed, client_at),
  }
end

-- The parts of a value, nothing if it is none. Numbers stay texts, so that they are written back as they were.
local function parse(value)
  local generation, rotated_at, expires_at, absolute_expires_at, created_at, auth_time, revoked, policy, kid_length,
    data_length, client_length, label_length, kid_at = string.match(value, VALUE)
  if not kid_at then
    return parse_1(value)
  end
  local data_at = kid_at + tonumber(kid_length)
  local texts_at = data_at + tonumber(data_length)
  if texts_at + tonumber(client_length) + (tonumber(label_length) or 0) > #value + 1 then
    return nil
  end
  return {
    generation = generation,
    rotated_at = rotated_at,
    expires_at = expires_at,
    absolute_expires_at = absolute_expires_at,
    created_at = created_at,
    auth_time = auth_time,
    revoked = revoked,
    policy = policy,
    client_length = client_length,
    label_length = label_length,
    kid = string.sub(value, kid_at, data_at - 1),
    data = string.sub(value, data_at, texts_at - 1),
    texts = string.sub(value, texts_at),
  }
end

local function compose(session)
  return table.concat({
    '2', session.generation, session.rotated_at, session.expires_at, session.absolute_expires_at, session.created_at,
    session.auth_time, session.revoked, session.policy, #session.kid, #session.data, session.client_length,
    session.label_length .. '\n' .. session.kid .. session.data .. session.texts,
  }, ' ')
end

-- Whether a session has ended by its age.
local function has_ended(session, now)
  return now >= tonumber(session.expires_at) or now >= tonumber(session.absolute_expires_at)
end

-- As `has_ended`, for the value in `member` from `at` on. It reads only the numbers, because a purge looks through many
-- sessions. A value that cannot be read has not ended.
local function is_expired(member, now, at)
  local expires_at, absolute_expires_at = string.match(member, '^2 %d+ %-?%d+ (%-?%d+) (%-?%d+) ', at)
  if not expires_at then
    local kid_length, kid_at
    expires_at, kid_length, kid_at = string.match(member, '^1 %d+ %-?%d+ (%-?%d+) %S+ %S+ (%d+)\n()', at)
    absolute_expires_at = kid_at and string.match(member, '^%-?%d+', kid_at + tonumber(kid_length))
  end
  return absolute_expires_at and (now >= tonumber(expires_at) or now >= tonumber(absolute_expires_at))
end

-- Ids are in the order of the bytes that they are written from, which is that of the places of their symbols in this alphabet.
-- It is not the order of the symbols' codes, and Lua compares texts by the server's locale.
local ALPHABET = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_'

-- Whether a session, by the time of its login and its id, comes before another one.
local function is_before(created_at, id, other_created_at, other_id)
  if created_at ~= other_created_at then
    return created_at < other_created_at
  end
  for at = 1, #id do
    local symbol, other = string.sub(id, at, at), string.sub(other_id, at, at)
    if symbol ~= other then
      return (string.find(ALPHABET, symbol, 1, true) or 0) < (string.find(ALPHABET, other, 1, true) or 0)
    end
  end
  return false
end

-- Sorts a list of sessions, of which each has its `id` and the number of its time in `began`.
local function sort(sessions)
  table.sort(sessions, function(one, other)
    return is_before(one.began, one.id, other.began, other.id)
  end)
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

-- The channel on which a message tells the verifiers that sessions have ended, once the step has ended some.
local told

local function require_log(log, id, channel)
  require_permission('XADD', log, '*', 'id', id)
  if channel ~= '' then
    require_permission('PUBLISH', channel, '')
  end
end

-- Writes an id into the log of ended sessions.
local function log_ended(log, id, channel)
  redis.call('XADD', log, '*', 'id', id)
  told = channel ~= '' and channel
end

-- Revokes a session that is not revoked yet: replaces its value, and writes its id into the log.
local function revoke(key, log, id, old, new, channel)
  require_log(log, id, channel)
  replace(key, id, old, new)
  log_ended(log, id, channel)
end

local function newer()
  return redis.error_reply('NEWER sessions were written by a newer version of kippu')
end

-- The error for a value that cannot be parsed.
local function unreadable(value)
  local version = value and string.match(value, '^([1-9]%d?) ')
  if version and tonumber(version) > 2 then
    return newer()
  end
  return redis.error_reply('CORRUPT a session is not what was stored')
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
    redis.call('ZADD', key, 0, id .. ' ' .. (session and compose(session) or value))
    if session then
      redis.call('ZADD', key, 0, index_of(subject_of(session)) .. id)
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

-- Fails where the shard has a layout that is not known here. Asked only where nothing was found: in such a shard every
-- session that is found has a value of a newer version.
local function require_known(key)
  if range(key, '[!', '("', 1)[1] then
    error(newer())
  end
end

-- Removes a session with its place in the index if it had ended at `now`. Says whether it did.
local function remove_expired(key, member, now)
  local blank = string.find(member, ' ', 1, true)
  if not (blank and is_expired(member, now, blank + 1)) then
    return false
  end
  local session = parse(string.sub(member, blank + 1))
  return session and redis.call('ZREM', key, member, index_of(subject_of(session)) .. string.sub(member, 1, blank - 1)) > 0
end

-- The value of a session, nil if there is none.
local function find(key, id)
  -- ! is the next byte after the blank.
  local member = range(key, '[' .. id .. ' ', '(' .. id .. '!', 1)[1]
  if member then
    return string.sub(member, #id + 2)
  end
  require_known(key)
  return nil
end

-- Visits the sessions of a subject. Returns an error if one of them cannot be read, else nil.
local function each_of_subject(key, subject, visit)
  local prefix, fault = index_of(subject), nil
  -- { is behind all that an id is written with.
  local entries = range(key, '[' .. prefix, '(' .. prefix .. '{', -1)
  if not entries[1] then
    require_known(key)
  end
  for _, entry in ipairs(entries) do
    local id = string.sub(entry, #prefix + 1)
    local value = find(key, id)
    local session = value and parse(value)
    if session and subject_of(session) == subject then
      visit(id, value, session)
    else
      fault = fault or unreadable(value)
    end
  end
  return fault
end

-- Answers with the clock, the server, and what the step says, unless this is a replica: one that takes writes runs scripts
-- too.
local function answer(step)
  if not string.find(REPLICATION, '\nrole:master\r', 1, true) then
    return redis.error_reply('READONLY this Redis is a replica')
  end
  local said = step()
  if told then
    redis.call('PUBLISH', told, '')
  end
  if type(said) == 'table' and said.err then
    return said
  end
  return {CLOCK, SERVER, said}
end

