-- Stores a page of a checkpoint that is being written. Begins with fence.lua.
--
-- KEYS: those of fence.lua, page
-- ARGV: those of fence.lua, bytes, time to live in ms
local refused = refusal() or denied('SET', KEYS[3], '', 'PX', '1')
if refused then return refused end

take_number()
call('SET', KEYS[3], ARGV[4], 'PX', ARGV[5])
return { 'written' }
