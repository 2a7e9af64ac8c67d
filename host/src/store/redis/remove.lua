-- Removes results of tokens and takes the tokens off the active list, if the owner still owns the shard.
-- Begins with fence.lua.
--
-- KEYS: those of fence.lua, active list
-- ARGV: those of fence.lua, 1 if only tokens leave the list that have no result, how many last parts of
--       keys there are, then these, then the tokens
local active = KEYS[3]
local only_list = ARGV[4] == '1'
local last_part = 5 + tonumber(ARGV[5])
local refused = refusal()
  or denied('UNLINK', 'token:' .. (ARGV[last_part + 1] or '') .. ':' .. ARGV[6])
  or denied('ZREM', active, '')
if refused then return refused end

take_number()
local gone = {}
for at = last_part + 1, #ARGV do
  local keys = {}
  for part = 6, last_part do keys[#keys + 1] = 'token:' .. ARGV[at] .. ':' .. ARGV[part] end
  if not only_list then
    call('UNLINK', unpack(keys))
    gone[#gone + 1] = ARGV[at]
  elseif call('EXISTS', unpack(keys)) == 0 then
    gone[#gone + 1] = ARGV[at]
  end
end
if #gone > 0 and call('TYPE', active).ok == 'zset' then call('ZREM', active, unpack(gone)) end
return { 'written' }
