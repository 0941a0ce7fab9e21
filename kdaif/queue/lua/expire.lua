-- QUEUED, RUNNING, AWAITING_REVIEW -> FAILED, when the deadline passed. ARGV: id, call, failure.
-- Answers GONE where there is nothing to do: a job that is being cancelled ends by that.
if is_repeated() then
  return answer()
end
if not is_overdue() then
  return refuse('GONE')
end
if STATE ~= 'QUEUED' and STATE ~= 'RUNNING' and STATE ~= 'AWAITING_REVIEW' then
  redis.call('ZREM', DEADLINES, ID)
  return refuse('GONE')
end
set('last_call', CALL)
leave_line()
finish('FAILED', with_attempt(ARGV[3]))
return answer()
