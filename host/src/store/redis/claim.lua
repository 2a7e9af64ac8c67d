-- Replaces the owner record of a scope if it is still what the caller has read.
--
-- KEYS: owner record, number of the last try
-- ARGV: the record as it was read (empty for none), the new record, the number that the tries of the
--       new owner's process have come to
local found = redis.call('GET', KEYS[1]) or ''
if found ~= ARGV[1] then return 0 end
-- Tries from before this claim stay behind the new number.
redis.call('SET', KEYS[2], ARGV[3])
redis.call('SET', KEYS[1], ARGV[2])
return 1
