-- Removes a checkpoint. Begins with fence.lua.
--
-- KEYS: those of fence.lua, head, pages
-- ARGV: those of fence.lua
local refused = refusal() or denied('UNLINK', KEYS[3])
if refused then return refused end

take_number()
for key = 3, #KEYS do call('UNLINK', KEYS[key]) end
return { 'written' }
