-- Reads results of a shard's tokens, if the owner still owns it and nothing was forgotten. Begins with
-- fence.lua.
--
-- KEYS: those of fence.lua
-- ARGV: those of fence.lua, last part of the keys, then the tokens
-- Answers with each value; empty where there is none, and a word where it is no text.
local refused = refusal()
if refused then return refused end

local found = { 'found' }
for at = 5, #ARGV do
  local value = redis.pcall('GET', 'token:' .. ARGV[at] .. ':' .. ARGV[4])
  if type(value) == 'table' then value = 'something of another type' end
  found[#found + 1] = value or ''
end
return found
