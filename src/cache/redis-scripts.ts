import { redisScript } from '../connections/redis.js';

/**
 * A value is `<versions>|<grace in ms>|<JSON>`. The versions are those of all, and of the groups that its key is in, at the time of storing:
 * a group is invalidated by giving it another version, however many values it has. They are in one hash, so that an evicted or flushed hash
 * makes all values invalid, and never an old value valid again: the version of all has to be there, and is new each time it is made.
 *
 * `guard` is no part of a value's versions: it only keeps what is being computed from being stored.
 */
const STATE = `
local call = redis.call
local function fresh()
  local time = call('TIME')
  return time[1] .. '.' .. time[2] .. '.' .. call('HINCRBY', KEYS[1], 'count', 1)
end
local function state(one, two, three)
  local found = call('HMGET', KEYS[1], 'all', one, two, three, 'guard')
  if not found[1] then
    found[1] = fresh()
    call('HSET', KEYS[1], 'all', found[1])
  end
  return found[1] .. ',' .. (found[2] or '') .. ',' .. (found[3] or '') .. ',' .. (found[4] or ''), (found[5] or '')
end
`;

/**
 * KEYS: versions, value, lease. ARGV: three groups, token or '', lease in ms. Returns {value with its versions and grace, ms that it is kept,
 * state or ''}.
 */
export const LOOK_UP = redisScript(`${STATE}
local version, guard = state(ARGV[1], ARGV[2], ARGV[3])
local raw = call('GET', KEYS[2])
local left = 0
if raw then
  local at = #version + 1
  if string.sub(raw, 1, at) == version .. '|' then
    left = call('PTTL', KEYS[2])
    local bar = string.find(raw, '|', at + 1, true)
    if ARGV[4] == '' or left > tonumber(string.sub(raw, at + 1, bar - 1)) then return {raw, left, ''} end
  else
    raw = false
  end
end
if ARGV[4] ~= '' and call('SET', KEYS[3], ARGV[4], 'NX', 'PX', ARGV[5]) then
  return {raw, left, version .. '/' .. guard}
end
return {raw, left, ''}
`);

/** KEYS: versions, value, lease. ARGV: three groups, token, state at the beginning, ms of grace, ms to keep it in all, JSON. Returns 1 when stored. */
export const STORE = redisScript(`${STATE}
if call('GET', KEYS[3]) ~= ARGV[4] then return 0 end
call('DEL', KEYS[3])
local version, guard = state(ARGV[1], ARGV[2], ARGV[3])
if version .. '/' .. guard ~= ARGV[5] then return 0 end
call('SET', KEYS[2], version .. '|' .. ARGV[6] .. '|' .. ARGV[8], 'PX', ARGV[7])
return 1
`);

/** KEYS: versions, value, lease. ARGV: three groups, channel, message, ms of grace, ms to keep it in all, JSON. */
export const PUT = redisScript(`${STATE}
call('DEL', KEYS[3])
call('SET', KEYS[2], state(ARGV[1], ARGV[2], ARGV[3]) .. '|' .. ARGV[6] .. '|' .. ARGV[8], 'PX', ARGV[7])
call('PUBLISH', ARGV[4], ARGV[5])
`);

/** KEYS: lease. ARGV: token, ms. */
export const RENEW = redisScript(`
if redis.call('GET', KEYS[1]) == ARGV[1] then redis.call('PEXPIRE', KEYS[1], ARGV[2]) end
`);

/** KEYS: lease. ARGV: token. */
export const RELEASE = redisScript(`
if redis.call('GET', KEYS[1]) == ARGV[1] then redis.call('DEL', KEYS[1]) end
`);

/** KEYS: value, lease. ARGV: channel, message. Without the lease what is being computed is not stored. */
export const DROP_KEY = redisScript(`
redis.call('UNLINK', KEYS[1], KEYS[2])
redis.call('PUBLISH', ARGV[1], ARGV[2])
`);

/**
 * KEYS: versions. ARGV: channel, message, field, most fields. At the most the hash is begun anew, which invalidates everything; it holds a
 * field for each group that was ever invalidated.
 */
export const DROP_GROUP = redisScript(`${STATE}
local message = ARGV[2]
if redis.call('HLEN', KEYS[1]) >= tonumber(ARGV[4]) and redis.call('HEXISTS', KEYS[1], ARGV[3]) == 0 then
  redis.call('UNLINK', KEYS[1])
  message = string.match(message, '^%S+') .. ' all '
else
  redis.call('HSET', KEYS[1], ARGV[3], fresh())
end
redis.call('PUBLISH', ARGV[1], message)
`);

/** KEYS: versions. ARGV: id of the server's run. Another run may have come back with a state of before: all that it has is invalid. */
export const GREET = redisScript(`${STATE}
if redis.call('HGET', KEYS[1], 'run') ~= ARGV[1] then
  redis.call('HSET', KEYS[1], 'run', ARGV[1], 'all', fresh(), 'guard', fresh())
end
`);

/** ARGV: cursor, pattern, how many to look at. Drops a page of keys where they are, without telling their names. Returns the next cursor. */
export const UNLINK_PAGE = redisScript(`
local page = redis.call('SCAN', ARGV[1], 'MATCH', ARGV[2], 'COUNT', ARGV[3])
if #page[2] > 0 then redis.call('UNLINK', unpack(page[2])) end
return page[1]
`);
