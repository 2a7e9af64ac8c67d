-- Notes what a host says of itself, forgets hosts that are silent, and gives what the others said.
--
-- KEYS: members
-- ARGV: the host's id, what it says, for how many milliseconds that counts
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local kept = tonumber(ARGV[3])
redis.call('HSET', KEYS[1], ARGV[1], string.format('%.0f:%s', now, ARGV[2]))
redis.call('PEXPIRE', KEYS[1], kept)
local said = redis.call('HGETALL', KEYS[1])
local members = {}
for i = 1, #said, 2 do
  local at, words = string.match(said[i + 1], '^(%d+):(.*)$')
  if at and now - tonumber(at) <= kept then
    members[#members + 1] = words
  else
    redis.call('HDEL', KEYS[1], said[i])
  end
end
return members
