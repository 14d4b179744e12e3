-- Returns the ids and the values of a subject's live sessions after a place, alternating. Returns
-- the first ones if there are more than the limit, else all of them in any order.
--
-- ARGV: subject, now, maximum number, time and id of the place or two empty texts.
local subject, now, limit, after, after_id = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4]), ARGV[5]

local found = {}
local fault = each_of_subject(KEYS[1], subject, function(id, value, session)
  local began = tonumber(session.created_at)
  if session.revoked == '-' and not has_ended(session, now) and (not after or is_before(after, after_id, began, id)) then
    found[#found + 1] = {id = id, began = began, value = value}
  end
end)
if fault then
  return fault
end
if #found > limit then
  sort(found)
end
local page = {}
for place = 1, math.min(#found, limit) do
  page[2 * place - 1] = found[place].id
  page[2 * place] = found[place].value
end
return page
