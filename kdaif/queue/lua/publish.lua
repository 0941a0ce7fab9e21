-- RUNNING and CANCELLING stay. ARGV: id, call, token, kind, progress or '', metrics or ''.
if not STATE then
  return refuse('NOT_FOUND')
end
if is_repeated() then
  return {'OK', STATE}
end
if not holds(ARGV[3]) then
  return refuse('FENCED')
end
local details = {progress = ARGV[5], metrics = ARGV[6]}
if ARGV[5] ~= '' then
  record(ARGV[4], details, 'last_call', CALL, 'progress', ARGV[5])
else
  record(ARGV[4], details, 'last_call', CALL)
end
return {'OK', STATE}
