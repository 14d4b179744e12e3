-- The code that all steps share. A key is a shard: a sorted set. All scores are 0, so that Redis
-- sorts the members by their bytes. A session has two members, which are added and removed
-- together:
--
--     id 2 generation rotated_at expires_at absolute_expires_at created_at auth_time revoked policy
--     kid_length data_length client_length label_length\n
--     kid data client label subject
--
--     ~subject_length:subject id
--
-- The first member, on three lines here, has a space before `kid_length`, no line break before
-- `kid` except the \n, and no separator between the texts. The texts are as long as the numbers
-- say; the data are any bytes. Everything after `id ` is the value, and `2` is its version. `-`
-- means that there is none, with these details:
--
-- * auth_time: `-` if it equals created_at, and only then;
-- * revoked: `-` if the session is not revoked; else the time, a colon and the reason;
-- * policy: `-` if the session is remembered and has no idle lifetime; else a `t` if the session is
--   transient, and then its own idle lifetime in milliseconds if it has one.
--
-- The second member, which has no line break before its `id`, is the index entry. The entries of a
-- subject are adjacent, so that a step finds them without reading the rest of the shard.
--
-- A version of kippu that changes this layout adds a member to each shard that it converts: `!` and
-- the number of the layout. The steps below reject such a shard.
local VALUE = '^2 (%d+) (%-?%d+) (%-?%d+) (%-?%d+) (%-?%d+) (%S+) (%S+) (%S+) (%d+) (%d+) (%d+) (%S+)\n()'

-- Values of version 1 are read, and written as version 2. They have these two lines of numbers,
-- `kid` between the lines, and client, label and subject at the end.
local MUTABLE_1 = '^1 (%d+) (%-?%d+) (%-?%d+) (%S+) (%S+) (%d+)\n()'
local FIXED_1 = '^(%-?%d+) (%-?%d+) (%d+) (%S+)\n()'

-- The server's clock, in microseconds. A Lua number is exact up to 2^53, which is the year 2255.
local TIME = redis.call('TIME')
local CLOCK = TIME[1] * 1000000 + TIME[2]

-- The identity of this server for as long as it is a primary: master_replid changes when a server
-- becomes a primary. Its first sixteen digits fit into a u64, and are enough to tell servers apart.
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

-- Parses a value; returns nil if it is malformed. Numbers stay texts, so that they are written back
-- unchanged.
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

-- Returns whether a session has ended by its age.
local function has_ended(session, now)
  return now >= tonumber(session.expires_at) or now >= tonumber(session.absolute_expires_at)
end

-- Returns the same as `has_ended`, for the value in `member` from the index `at` on. Reads only the
-- numbers, because a purge checks many sessions. A value that cannot be read has not ended.
local function is_expired(member, now, at)
  local expires_at, absolute_expires_at = string.match(member, '^2 %d+ %-?%d+ (%-?%d+) (%-?%d+) ', at)
  if not expires_at then
    local kid_length, kid_at
    expires_at, kid_length, kid_at = string.match(member, '^1 %d+ %-?%d+ (%-?%d+) %S+ %S+ (%d+)\n()', at)
    absolute_expires_at = kid_at and string.match(member, '^%-?%d+', kid_at + tonumber(kid_length))
  end
  return absolute_expires_at and (now >= tonumber(expires_at) or now >= tonumber(absolute_expires_at))
end

-- Ids sort by the bytes that they encode, which is the order of the symbols in this alphabet. The
-- symbols' codes have another order, and Lua compares texts by the server's locale.
local ALPHABET = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_'

-- Returns whether a session, by the time of its login and then by its id, sorts before another one.
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

-- Sorts a list of sessions. Each has its `id`, and the time of its login as a number in `began`.
local function sort(sessions)
  table.sort(sessions, function(one, other)
    return is_before(one.began, one.id, other.began, other.id)
  end)
end

-- Returns the prefix of all index entries of a subject. The length makes sure that no other subject
-- has the same prefix.
local function index_of(subject)
  return '~' .. #subject .. ':' .. subject
end

-- Checked before the first write: Redis does not undo the writes of a script that fails later.
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

-- The channel of the message to the verifiers, set once the step has ended a session.
local wake_channel

local function require_log(log, id, channel)
  require_permission('XADD', log, '*', 'id', id)
  if channel ~= '' then
    require_permission('PUBLISH', channel, '')
  end
end

-- Writes an id into the log of ended sessions.
local function log_ended(log, id, channel)
  redis.call('XADD', log, '*', 'id', id)
  wake_channel = channel ~= '' and channel
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

-- Returns the error for a value that cannot be parsed.
local function unreadable(value)
  local version = value and string.match(value, '^([1-9]%d?) ')
  if version and tonumber(version) > 2 then
    return newer()
  end
  return redis.error_reply('CORRUPT a session is not what was stored')
end

-- Converts a shard of the first layout: a hash of ids and values, each value after a time and a
-- space. The script is atomic, so that every client sees one layout or the other. Servers that know
-- only the first layout get WRONGTYPE from then on, and fail.
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

-- Returns up to `count` members from `first` to `last`, in the notation of ZRANGE BYLEX; -1 means
-- all.
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

-- Fails if the shard has an unknown layout. Called only where nothing was found: in such a shard,
-- every session that is found has a value of a newer version.
local function require_known(key)
  if range(key, '[!', '("', 1)[1] then
    error(newer())
  end
end

-- Removes a session and its index entry if it had ended at `now`. Returns whether it did.
local function remove_expired(key, member, now)
  local blank = string.find(member, ' ', 1, true)
  if not (blank and is_expired(member, now, blank + 1)) then
    return false
  end
  local session = parse(string.sub(member, blank + 1))
  return session and redis.call('ZREM', key, member, index_of(subject_of(session)) .. string.sub(member, 1, blank - 1)) > 0
end

-- Returns the value of a session, nil if there is none.
local function find(key, id)
  -- ! is the next byte after the space.
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
  -- { sorts after all symbols of an id.
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

-- Returns the clock, the server, and the result of the step. Returns an error on a replica: with
-- `replica-read-only no` it would run the script.
local function answer(step)
  if not string.find(REPLICATION, '\nrole:master\r', 1, true) then
    return redis.error_reply('READONLY this Redis is a replica')
  end
  local result = step()
  if wake_channel then
    redis.call('PUBLISH', wake_channel, '')
  end
  if type(result) == 'table' and result.err then
    return result
  end
  return {CLOCK, SERVER, result}
end

