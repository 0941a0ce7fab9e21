-- FAILED, DEAD, CANCELLED -> QUEUED, at the end of the line; a deadline counts anew. ARGV: id, call.
if not STATE then
  return refuse('NOT_FOUND')
end
if is_repeated() then
  return answer()
end
if STATE ~= 'FAILED' and STATE ~= 'DEAD' and STATE ~= 'CANCELLED' then
  return refuse('WRONG_STATE')
end
start_clock()
queue_afresh()
return answer()
