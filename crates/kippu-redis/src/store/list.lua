-- The ids and the values of a subject's sessions, in turns.
-- ARGV: subject.
local found = {}
local are_sessions = each_of_subject(KEYS[1], ARGV[1], function(id, value)
  found[#found + 1] = id
  found[#found + 1] = value
end)
return are_sessions and found or corrupt()
