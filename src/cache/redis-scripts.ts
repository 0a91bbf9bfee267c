import { redisScript } from '../connections/redis.js';

/**
 * A value is `<versions>|<grace in ms>|<JSON>`. The versions are those of all, and of the groups that its key is in, at the time of storing:
 * a group is invalidated by giving it another version, however many values it has. They are in one hash, so that an evicted or flushed hash
 * makes all values invalid, and never an old value valid again: the version of all has to be there, and is new each time it is made.
 *
 * `guard` is no part of a value's versions: it only keeps what is being computed from being stored.
 */
const STATE = `
local function fresh()
  local time = redis.call('TIME')
  return time[1] .. '.' .. time[2] .. '.' .. redis.call('HINCRBY', KEYS[1], 'count', 1)
end
local function state(first)
  local fields = {'all', 'guard'}
  for at = first, #ARGV do fields[#fields + 1] = ARGV[at] end
  local found = redis.call('HMGET', KEYS[1], unpack(fields))
  if not found[1] then
    found[1] = fresh()
    redis.call('HSET', KEYS[1], 'all', found[1])
  end
  local version = found[1]
  for at = 3, #found do version = version .. ',' .. (found[at] or '') end
  return version, (found[2] or '')
end
`;

/** KEYS: versions, value, lease. ARGV: token or '', lease in ms, groups. Returns {value, ms that it is kept, ms of grace, state or ''}. */
export const LOOK_UP = redisScript(`${STATE}
local version, guard = state(3)
local text, left, grace = false, 0, 0
local raw = redis.call('GET', KEYS[2])
if raw and string.sub(raw, 1, #version + 1) == version .. '|' then
  local bar = string.find(raw, '|', #version + 2, true)
  grace = tonumber(string.sub(raw, #version + 2, bar - 1))
  left = redis.call('PTTL', KEYS[2])
  text = string.sub(raw, bar + 1)
end
local began = ''
if ARGV[1] ~= '' and left <= grace and redis.call('SET', KEYS[3], ARGV[1], 'NX', 'PX', ARGV[2]) then
  began = version .. '/' .. guard
end
return {text, left, grace, began}
`);

/** KEYS: versions, value, lease. ARGV: token, state at the beginning, ms of grace, ms to keep it in all, JSON, groups. Returns 1 when stored. */
export const STORE = redisScript(`${STATE}
if redis.call('GET', KEYS[3]) ~= ARGV[1] then return 0 end
redis.call('DEL', KEYS[3])
local version, guard = state(6)
if version .. '/' .. guard ~= ARGV[2] then return 0 end
redis.call('SET', KEYS[2], version .. '|' .. ARGV[3] .. '|' .. ARGV[5], 'PX', ARGV[4])
return 1
`);

/** KEYS: versions, value, lease. ARGV: channel, message, ms of grace, ms to keep it in all, JSON, groups. */
export const PUT = redisScript(`${STATE}
redis.call('DEL', KEYS[3])
redis.call('SET', KEYS[2], state(6) .. '|' .. ARGV[3] .. '|' .. ARGV[5], 'PX', ARGV[4])
redis.call('PUBLISH', ARGV[1], ARGV[2])
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
