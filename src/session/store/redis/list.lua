-- The ids and the values of a subject's sessions, in turns.
-- ARGV: subject.
local found = {}
each_of_subject(ARGV[1], function(id, value)
  found[#found + 1] = id
  found[#found + 1] = value
end)
return found
