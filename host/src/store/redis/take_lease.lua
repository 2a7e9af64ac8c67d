-- Replaces the lease if it is still what the caller has seen.
--
-- KEYS: lease
-- ARGV: the lease as it was seen (empty for none), the new one
local found = redis.call('GET', KEYS[1]) or ''
if found ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[2])
return 1
