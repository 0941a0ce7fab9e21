-- AWAITING_REVIEW -> QUEUED, at the end of the line; the deadline goes on. ARGV: id, call.
if not STATE then
  return refuse('NOT_FOUND')
end
if is_repeated() then
  return answer()
end
if STATE ~= 'AWAITING_REVIEW' then
  return refuse('WRONG_STATE')
end
queue_afresh()
return answer()
