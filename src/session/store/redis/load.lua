-- The value of a session, nil if there is none. A script, because scripts go to the master, and are refused by replicas
-- unless they promise not to write, which this one does not.
-- ARGV: id.
return redis.call('HGET', KEYS[1], ARGV[1])
