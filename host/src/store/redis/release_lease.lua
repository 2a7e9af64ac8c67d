-- Removes the lease if holder and epoch are the caller's.
--
-- KEYS: lease
-- ARGV: what the lease of this holder and epoch begins with
local found = redis.call('GET', KEYS[1]) or ''
if string.sub(found, 1, #ARGV[1]) ~= ARGV[1] then return 0 end
return redis.call('DEL', KEYS[1])
