-- QUEUED, AWAITING_REVIEW -> CANCELLED, RUNNING -> CANCELLING. ARGV: id, call, failure of a cancelled job.
if not STATE then
  return refuse('NOT_FOUND')
end
if STATE == 'QUEUED' or STATE == 'AWAITING_REVIEW' then
  leave_line()
  finish('CANCELLED', with_attempt(ARGV[3]))
elseif STATE == 'RUNNING' then
  if field('shards') then
    drop_shards()
  end
  record_for_archive('cancelling', nil, 'state', 'CANCELLING')
elseif STATE ~= 'CANCELLING' and STATE ~= 'CANCELLED' then
  return refuse('WRONG_STATE')
end
return answer()
