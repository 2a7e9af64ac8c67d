-- Frees the lease if it is still of one holder and epoch, whatever its beat.
--
-- KEYS: lease
-- ARGV: what the record of this holder and epoch begins with, the record of a free lease
local found = redis.call('GET', KEYS[1]) or ''
if string.sub(found, 1, #ARGV[1]) ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[2])
return 1
