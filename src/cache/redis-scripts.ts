import { redisScript } from '../connections/redis.js';

/*
 * A value is `<versions>|<Unix ms until when it is fresh, by Redis' clock>|<JSON>`. The versions are those of everything and of the groups that its key is
 * in, as they were before it was computed; it is valid while they are the same. A group is invalidated by dropping its version: whoever computes next makes
 * another, which never comes twice. So no value is ever stored without all of its versions, and one that is evicted or flushed makes values invalid, never
 * old ones valid again.
 *
 * `guard` is no part of a value's versions: it only keeps what is being computed from being stored.
 */

/** How long a version lives that is not dropped; when it goes, the values under it are over before their time. */
const VERSION_MS = 48 * 3_600_000;

/** `ensure(found, first)`: makes those of `found` that are missing from `first` on; they are under the KEYS after the count. */
const ENSURE = `
local call = redis.call
local function ensure(found, first)
  for n = first, #found do
    if not found[n] then
      local time = call('TIME')
      found[n] = time[1] .. '.' .. time[2] .. '.' .. call('INCR', KEYS[1])
      call('SET', KEYS[n + 2], found[n], 'PX', ${VERSION_MS})
    end
  end
end
`;

/*
 * Each command in a script costs about as much as one without: so there are few, and what the process can do, such as comparing versions with those of a
 * value, it does.
 */

/**
 * KEYS: count, lease, value, versions. ARGV: token, ms of the lease. Returns the value, whatever versions it was stored under, the versions, and
 * whether the lease was free and is the caller's now.
 */
export const LEASE = redisScript(`${ENSURE}
local given = call('SET', KEYS[2], ARGV[1], 'PX', ARGV[2], 'NX')
local found = call('MGET', unpack(KEYS, 3))
ensure(found, 2)
found[#found + 1] = given and 1 or 0
return found
`);

/**
 * KEYS: value, lease, versions. ARGV: ms to keep it in all, value, token, versions. Stored if the lease and all the versions are still the same; the
 * lease is given back either way. Returns 1 when stored.
 */
export const STORE = redisScript(`
local call = redis.call
local found = call('MGET', unpack(KEYS, 2))
if found[1] ~= ARGV[3] then return 0 end
call('DEL', KEYS[2])
for n = 2, #found do
  if found[n] ~= ARGV[n + 2] then return 0 end
end
call('SET', KEYS[1], ARGV[2], 'PX', ARGV[1])
return 1
`);

/** KEYS: count, lease, value, versions but the guard. ARGV: channel, message, ms to keep it in all, `<Unix ms>|<JSON>`. */
export const PUT = redisScript(`${ENSURE}
local found = call('MGET', unpack(KEYS, 3))
ensure(found, 2)
call('DEL', KEYS[2])
call('SET', KEYS[3], table.concat(found, ',', 2) .. '|' .. ARGV[4], 'PX', ARGV[3])
call('PUBLISH', ARGV[1], ARGV[2])
`);

/** KEYS: lease. ARGV: token, ms. */
export const RENEW = redisScript(`
if redis.call('GET', KEYS[1]) == ARGV[1] then redis.call('PEXPIRE', KEYS[1], ARGV[2]) end
`);

/** KEYS: lease. ARGV: token. */
export const RELEASE = redisScript(`
if redis.call('GET', KEYS[1]) == ARGV[1] then redis.call('DEL', KEYS[1]) end
`);

/** KEYS: what goes: a value and its lease, without which what is being computed is not stored, and versions. ARGV: channel, message. */
export const DROP = redisScript(`
redis.call('UNLINK', unpack(KEYS))
redis.call('PUBLISH', ARGV[1], ARGV[2])
`);

/**
 * KEYS: run, guard, version of everything. ARGV: id of the server's run. Another run may have come back with a state of before: all that it has is
 * invalid.
 */
export const GREET = redisScript(`
local call = redis.call
if call('GET', KEYS[1]) ~= ARGV[1] then
  call('SET', KEYS[1], ARGV[1])
  call('UNLINK', KEYS[2], KEYS[3])
end
`);

/** ARGV: cursor, pattern, how many to look at. Drops a page of keys where they are, without telling their names. Returns the next cursor. */
export const UNLINK_PAGE = redisScript(`
local page = redis.call('SCAN', ARGV[1], 'MATCH', ARGV[2], 'COUNT', ARGV[3])
if #page[2] > 0 then redis.call('UNLINK', unpack(page[2])) end
return page[1]
`);
