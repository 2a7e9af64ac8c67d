-- Removes pieces of checkpoints that nothing names, if the owner still owns its shard. Begins with fence.lua.
--
-- KEYS: those of fence.lua, the pieces
local refused = refusal() or denied('UNLINK', KEYS[3])
if refused then return refused end

take_number()
for piece = 3, #KEYS do call('UNLINK', KEYS[piece]) end
return { 'written' }
