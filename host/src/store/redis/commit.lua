-- Makes a checkpoint the one that counts. Begins with fence.lua.
--
-- KEYS: those of fence.lua, head, the pages that must be there, the pages that go, then the page that
--       comes along, if one does
-- ARGV: those of fence.lua, head, how many pages must be there, how many go, then the bytes of the page
--       that comes along
local last_needed = 3 + tonumber(ARGV[5])
local last_obsolete = last_needed + tonumber(ARGV[6])
local along = KEYS[last_obsolete + 1]

local refused = refusal()
  or denied('SET', KEYS[3], '')
  or denied('SET', along, '')
  or denied('EXISTS', last_needed > 3 and KEYS[4])
  or denied('PERSIST', last_needed > 3 and KEYS[4])
  or denied('UNLINK', last_obsolete > last_needed and KEYS[last_obsolete])
if refused then return refused end
for page = 4, last_needed do
  if call('EXISTS', KEYS[page]) == 0 then return { 'regressed' } end
end

take_number()
for page = 4, last_needed do call('PERSIST', KEYS[page]) end
if along then call('SET', along, ARGV[7]) end
call('SET', KEYS[3], ARGV[4])
for page = last_needed + 1, last_obsolete do call('UNLINK', KEYS[page]) end
return { 'written' }
