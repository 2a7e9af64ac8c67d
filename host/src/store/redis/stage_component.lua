-- Stores a chunk of a component for a while; one that a record names already stays as it is.
--
-- KEYS: chunk
-- ARGV: bytes, time to live in ms
if redis.call('PTTL', KEYS[1]) == -1 then return 0 end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return 1
