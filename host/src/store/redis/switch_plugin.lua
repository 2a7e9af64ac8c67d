-- Replaces the record of a plugin if it is still of the revision that the caller has seen, or removes it.
--
-- What fails half-way leaves chunks that nobody names, or a record that names chunks which stay: never a
-- record without its chunks.
--
-- KEYS: the hash of records, the chunks that must be there, the chunks that go
-- ARGV: plugin, the revision as it was seen (0 for no record), the new record (empty for none), how many
--       chunks must be there
local call = redis.call
local last_needed = 1 + tonumber(ARGV[4])

local found = call('HGET', KEYS[1], ARGV[1])
local revision = found and cjson.decode(found).revision or 0
if revision ~= tonumber(ARGV[2]) then return 'stale' end
for chunk = 2, last_needed do
  if call('EXISTS', KEYS[chunk]) == 0 then return 'incomplete' end
end

for chunk = 2, last_needed do call('PERSIST', KEYS[chunk]) end
if ARGV[3] == '' then
  call('HDEL', KEYS[1], ARGV[1])
else
  call('HSET', KEYS[1], ARGV[1], ARGV[3])
end
for chunk = last_needed + 1, #KEYS do call('UNLINK', KEYS[chunk]) end
return 'switched'
