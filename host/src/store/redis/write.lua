-- Writes a chunk if its owner still owns the shard, and nothing otherwise. Begins with fence.lua.
--
-- KEYS: those of fence.lua, active list
-- ARGV: those of fence.lua, result key, 1 if leading, clock, time to live in ms or 0, rows, then token,
--       value and time of the last trade of each row, then the forgotten tokens
local active = KEYS[3]
local suffix = ':' .. ARGV[4]
local leading = ARGV[5] == '1'
local clock = ARGV[6]
local ttl = ARGV[7]
local rows = tonumber(ARGV[8])
local first = 9
local first_gone = first + 3 * rows

local refused = refusal()
if refused then return refused end

local listed = (leading and rows > 0) or first_gone <= #ARGV
local held = listed and call('TYPE', active).ok or 'none'
local poisoned = held ~= 'none' and held ~= 'zset'
local list = listed and not poisoned and active
refused = denied('SET', rows > 0 and 'token:' .. ARGV[first] .. suffix, '', 'PX', '1')
  or denied('ZADD', list, 'GT', '0', '')
  or denied('ZREM', list, '')
if refused then return refused end

take_number()
local members = {}
for row = 0, rows - 1 do
  local at = first + 3 * row
  local prefix = 'token:' .. ARGV[at]
  if ttl == '0' then
    call('SET', prefix .. suffix, ARGV[at + 1])
    if leading then call('SET', prefix .. ':last_update', clock) end
  else
    call('SET', prefix .. suffix, ARGV[at + 1], 'PX', ttl)
    if leading then call('SET', prefix .. ':last_update', clock, 'PX', ttl) end
  end
  members[2 * row + 1] = ARGV[at + 2]
  members[2 * row + 2] = ARGV[at]
end
if poisoned then return { 'wrong-type', active, held } end

-- unpack has a limit of some thousand values.
if leading then
  for from = 1, #members, 512 do
    call('ZADD', active, 'GT', unpack(members, from, math.min(from + 511, #members)))
  end
end
for from = first_gone, #ARGV, 512 do
  call('ZREM', active, unpack(ARGV, from, math.min(from + 511, #ARGV)))
end
return { 'written' }
