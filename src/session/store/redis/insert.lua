-- Adds a session, unless there is one of its id.
-- ARGV: id, value without `kept_until`, milliseconds to the idle end, milliseconds to the absolute end.
local id, value, idle, absolute = ARGV[1], ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4])

if redis.call('HEXISTS', KEYS[1], id) == 1 then
  return 0
end

-- Four looked at for one added: a quarter of a shard is garbage at most, on the average, though nobody purges.
local now = clock()
local some = redis.call('HRANDFIELD', KEYS[1], 4, 'WITHVALUES')
for i = 1, #some, 2 do
  local until_then = tonumber(kept_until(some[i + 1]))
  if until_then and until_then < now then
    redis.call('HDEL', KEYS[1], some[i])
  end
end

-- The shard goes when the last of its sessions is garbage for certain. One without an expiry was given none by somebody.
local left = redis.call('PTTL', KEYS[1])
redis.call('HSET', KEYS[1], id, keep(idle) .. ' ' .. value)
if left == -2 or (left >= 0 and left < absolute + SLACK) then
  redis.call('PEXPIRE', KEYS[1], string.format('%.0f', absolute + SLACK))
end
return 1
