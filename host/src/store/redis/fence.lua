-- What every write to a shard asks before it changes anything; the scripts that write begin with this.
--
-- A script is not undone when it fails half-way, so everything that can fail is asked first: the owner,
-- the number of the try, permissions. The first write, of the number, also tells whether the server is
-- full or read-only, before anything else has changed.
--
-- KEYS: owner record, number of the last try, then the script's own
-- ARGV: owner, number of this try, number of the last try that the server has acknowledged, then the
--       script's own
local call = redis.call

-- The answer to a write that is not to be made; nil for one that is.
local function refusal()
  local owner = call('GET', KEYS[1])
  if owner ~= ARGV[1] then
    if owner then return { 'fenced', owner } end
    return { 'fenced' }
  end
  local last = tonumber(call('GET', KEYS[2]) or '0') or 0
  -- The server has gone back to an older state, of which the owner record is a part.
  if last < tonumber(ARGV[3]) then return { 'regressed' } end
  -- A try that was given up and arrives late must not overwrite a newer one.
  if tonumber(ARGV[2]) <= last then return { 'overtaken' } end
end

-- The answer where the user may not run a command on a key; nil where he may, or where the server is too
-- old to tell.
local function denied(command, key, ...)
  if key and redis.acl_check_cmd and not redis.acl_check_cmd(command, key, ...) then
    return { 'no-permission', command, key }
  end
end

-- Takes the number of this try; the first write of a script.
local function take_number()
  call('SET', KEYS[2], ARGV[2])
end

