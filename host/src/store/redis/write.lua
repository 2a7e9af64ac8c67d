-- Writes a chunk if its owner still owns the shard, and nothing otherwise.
--
-- A script is not undone when it fails half-way, so everything that can fail is asked first: the owner,
-- the number of the try, the type of the active list, permissions. The first write also tells whether
-- the server is full or read-only, before anything has changed.
--
-- KEYS: owner record, number of the last try, active list
-- ARGV: owner, number of this try, result key, 1 if leading, clock, time to live in ms or 0, rows,
--       then token, value and time of the last trade of each row, then the forgotten tokens
local call = redis.call
local active = KEYS[3]
local suffix = ':' .. ARGV[3]
local leading = ARGV[4] == '1'
local clock = ARGV[5]
local ttl = ARGV[6]
local rows = tonumber(ARGV[7])
local first = 8
local first_gone = first + 3 * rows

local owner = call('GET', KEYS[1])
if owner ~= ARGV[1] then
  if owner then return { 'fenced', owner } end
  return { 'fenced' }
end
-- A try that was given up and arrives late must not overwrite a newer one.
local last = tonumber(call('GET', KEYS[2]) or '0') or 0
if tonumber(ARGV[2]) <= last then return { 'overtaken' } end

local listed = (leading and rows > 0) or first_gone <= #ARGV
local held = listed and call('TYPE', active).ok or 'none'
local poisoned = held ~= 'none' and held ~= 'zset'

if redis.acl_check_cmd then
  local key = rows > 0 and 'token:' .. ARGV[first] .. suffix
  if key and not redis.acl_check_cmd('SET', key, '', 'PX', '1') then return { 'no-permission', 'SET', key } end
  if listed and not poisoned then
    if not redis.acl_check_cmd('ZADD', active, 'GT', '0', '') then return { 'no-permission', 'ZADD', active } end
    if not redis.acl_check_cmd('ZREM', active, '') then return { 'no-permission', 'ZREM', active } end
  end
end

call('SET', KEYS[2], ARGV[2])
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
