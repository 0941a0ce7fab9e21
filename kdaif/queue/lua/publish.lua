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
if ARGV[5] ~= '' then
  set('progress', ARGV[5])
end
set('last_call', CALL)
record(ARGV[4], {progress = ARGV[5], metrics = ARGV[6]})
return {'OK', STATE}
