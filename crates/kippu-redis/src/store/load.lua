-- Returns the value of a session, nil if there is none.
--
-- ARGV: id.
return find(KEYS[1], ARGV[1]) or false
