import { type RedisScript, redisScript } from '../connections/redis.js';

/**
 * In front of every key. Everything that a script touches is under it, and the braces put it all on one node of a cluster.
 *
 *   count                  hash: sums over everything (`cost`, `bytes`, `entries`, `items:<signal>`, `inserts:<signal>`, ...)
 *   seen:<16 bytes>        what the client of a body was told, for ten minutes
 *   body:<entry>           the bytes of one request
 *   lane:<signal>:<lane>   list: a tenant's waiting entries, one line each
 *   age:, bytes:, items:, turn:, full:<signal>   of each lane: when its oldest entry came, sums, last turn, whether a limit is reached
 *   batch:<id>             hash: a plan, with its entries' lines
 *   planned:<signal>       sorted set: every plan by the time of its oldest entry
 *   ready:<signal>         sorted set: plans that nobody holds, by when they are due
 *   held:<signal>          sorted set: plans that somebody holds, by when the lease ends
 *   begun:<signal>         sorted set: plans that may be in the store, by how many blocks were inserted before
 *   failed, failed-at      hash and sorted set: what was given up; its bodies stay
 *   discarded              set: ids of those that are to be deleted once that is recorded
 *   minutes:<signal>       hash: items that wait (`-`) or were refused of what waits (reason), by minute of receipt and lane
 *   paused                 is there while the queue is paused
 *   born                   drawn when the keys were begun: another one means that Redis lost everything
 *   rate:<second>          plans given out in that second
 */
export const PREFIX = '{tf:ingest}:';

/**
 * `now` is Unix milliseconds by Redis' clock, the only one that all processes share. An entry's line is
 * `id bytes items received-at retention-days added-at reasons`, the last `-` or `CODE=n,CODE=n`; small ones cost memory too, so each counts 4 KiB at least.
 */
const PRELUDE = `
local P = KEYS[1]
local C = P .. 'count'
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local function count(field, by)
  if by ~= 0 then redis.call('HINCRBY', C, field, by) end
end
local function costOf(bytes)
  return math.max(4096, bytes + 512)
end
local function numbersOf(line)
  local bytes, items, added = string.match(line, '^%S+ (%d+) (%d+) %S+ %S+ (%d+) %S+$')
  return tonumber(bytes), tonumber(items), tonumber(added)
end
local function tell(signal)
  redis.call('PUBLISH', ARGV[1], signal)
end
-- Sums by minute of what waits, written at the end of a script by noteMinutes.
local minutes = {}
local function noteLine(signal, lane, line, sign)
  local bytes, items, received, added, reasons = string.match(line, '^%S+ (%d+) (%d+) (%d+) %S+ (%d+) (%S+)$')
  local minute = string.format('%.0f', received - received % 60000)
  local sums = minutes[signal] or {}
  minutes[signal] = sums
  local function add(reason, by)
    local field = minute .. ' ' .. reason .. ' ' .. lane
    sums[field] = (sums[field] or 0) + sign * by
  end
  add('-', items)
  if reasons ~= '-' then
    for reason, by in string.gmatch(reasons, '([%w_]+)=(%d+)') do add(reason, by) end
  end
  return tonumber(bytes), tonumber(items), tonumber(added)
end
local function noteMinutes()
  for signal, sums in pairs(minutes) do
    for field, by in pairs(sums) do
      if redis.call('HINCRBY', P .. 'minutes:' .. signal, field, by) == 0 then redis.call('HDEL', P .. 'minutes:' .. signal, field) end
    end
  end
end
-- Some lines of one lane, which are as many arguments. Returns whether someone should look: the lane was empty, or it is full now.
local function enqueue(signal, lane, lines)
  local bytes, items, added = 0, 0, nil
  for _, line in ipairs(lines) do
    local lineBytes, lineItems, lineAdded = noteLine(signal, lane, line, 1)
    bytes, items, added = bytes + lineBytes, items + lineItems, added or lineAdded
  end
  local length = redis.call('RPUSH', P .. 'lane:' .. signal .. ':' .. lane, unpack(lines))
  local allBytes = redis.call('HINCRBY', P .. 'bytes:' .. signal, lane, bytes)
  local allItems = redis.call('HINCRBY', P .. 'items:' .. signal, lane, items)
  if length == #lines then redis.call('ZADD', P .. 'age:' .. signal, added, lane) end
  local limits = redis.call('HMGET', C, 'full-bytes:' .. signal, 'full-items:' .. signal)
  local isFull = limits[1] and (allBytes >= tonumber(limits[1]) or allItems >= tonumber(limits[2]))
  if isFull and redis.call('SADD', P .. 'full:' .. signal, lane) == 1 then return true end
  return length == #lines
end
`;

/** What a script may do: the ones that empty the queue also when Redis has no memory left, or it could never be emptied. */
type Rights = 'flags=allow-oom' | 'flags=no-writes' | '';

/** The first key of every script is `PREFIX`, the first value of those that wake somebody the channel. Needs Redis 7. */
export function queueScript(rights: Rights, lua: string): RedisScript {
  return redisScript(`#!lua ${rights}`.trim() + PRELUDE + lua);
}
