import { redisScript } from '../connections/redis.js';
import { MAX_GROUP_PARTS } from './invalidation.js';

/** In front of every key, so that the cache can be told from whatever else is in the database. */
const PREFIX = 'tf:cache:';
/** The keys in Redis that there are once. */
export const NAMES = {
  count: `${PREFIX}count`,
  run: `${PREFIX}run`,
  guard: `${PREFIX}guard`,
  everything: `${PREFIX}all`,
} as const;
/** What the keys in Redis begin with that there are for each key, and for each group. */
export const PREFIXES = { value: `${PREFIX}v:`, lease: `${PREFIX}l:`, version: `${PREFIX}g:` } as const;

/*
 * A value is `<versions>|<Unix ms until when it is fresh, by Redis' clock>|<JSON>`. The versions are those of everything and of the groups that its key is
 * in, as they were before it was computed; it is valid while they are the same. A group is invalidated by dropping its version: whoever computes next makes
 * another, which never comes twice. So no value is ever stored without all of its versions, and one that is evicted or flushed makes values invalid, never
 * old ones valid again.
 *
 * `guard` is no part of a value's versions: it only keeps what is being computed from being stored.
 */

/** How long after its holder has died a key can be computed by another. */
const LEASE_MS = 5_000;
/** How long a version lives that is not dropped; when it goes, the values under it are over before their time. */
const VERSION_MS = 48 * 3_600_000;

/*
 * Each command in a script costs about as much as one without: so there are few, and what the process can do, such as comparing versions with those of a
 * value, it does. Names are the other way round: a process takes longer to write nine of them, and Redis to read them, than a script to make them of one.
 */

/** `value`, `lease` are the names of KEYS[1], `versions(names)` puts those of its versions behind others: of everything, of its groups from wide to narrow. */
const NAMED = `
local call, find, sub = redis.call, string.find, string.sub
local value = KEYS[1]
local key = sub(value, ${PREFIXES.value.length + 1})
local lease = '${PREFIXES.lease}' .. key
local function versions(names)
  local n = #names
  names[n + 1] = '${NAMES.everything}'
  local colon = find(key, ':', 1, true)
  for group = n + 2, n + 1 + ${MAX_GROUP_PARTS} do
    if not colon then break end
    names[group] = '${PREFIXES.version}' .. sub(key, 1, colon)
    colon = find(key, ':', colon + 1, true)
  end
  return names
end
`;

/** `ensure(found, names)`: makes the versions that are missing, all of `found` but the first. */
const ENSURE = `
local function ensure(found, names)
  for n = 2, #found do
    if not found[n] then
      local time = call('TIME')
      found[n] = time[1] .. '.' .. time[2] .. '.' .. call('INCR', '${NAMES.count}')
      call('SET', names[n], found[n], 'PX', ${VERSION_MS})
    end
  end
end
`;

/**
 * KEYS: value. ARGV: token. Returns the value, whatever versions it was stored under, guard and versions, and whether the lease was free and is the
 * caller's now.
 */
export const LEASE = redisScript(`${NAMED}${ENSURE}
local given = call('SET', lease, ARGV[1], 'PX', ${LEASE_MS}, 'NX')
local names = versions({value, '${NAMES.guard}'})
local found = call('MGET', unpack(names))
ensure(found, names)
return {found[1], table.concat(found, ',', 2), given and 1 or 0}
`);

/**
 * KEYS: value. ARGV: token, guard and versions, ms to keep it in all, value. Stored if the lease and all of these are still the same; the lease is
 * given back either way. Returns 1 when stored.
 */
export const STORE = redisScript(`${NAMED}
local found = call('MGET', unpack(versions({lease, '${NAMES.guard}'})))
if found[1] ~= ARGV[1] then return 0 end
call('DEL', lease)
for n = 2, #found do
  if not found[n] then return 0 end
end
if table.concat(found, ',', 2) ~= ARGV[2] then return 0 end
call('SET', value, ARGV[4], 'PX', ARGV[3])
return 1
`);

/** KEYS: value. ARGV: channel, message, ms to keep it in all, `<Unix ms>|<JSON>`. */
export const PUT = redisScript(`${NAMED}${ENSURE}
local names = versions({value})
local found = call('MGET', unpack(names))
ensure(found, names)
call('DEL', lease)
call('SET', value, table.concat(found, ',', 2) .. '|' .. ARGV[4], 'PX', ARGV[3])
call('PUBLISH', ARGV[1], ARGV[2])
`);

/** KEYS: lease. ARGV: token. */
export const RENEW = redisScript(`
if redis.call('GET', KEYS[1]) == ARGV[1] then redis.call('PEXPIRE', KEYS[1], ${LEASE_MS}) end
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
