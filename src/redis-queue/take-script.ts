import { MAX_BATCH_ENTRIES } from '../queue/ingest-queue.js';
import { queueScript } from './script.js';

/**
 * How long a batch belongs to a process that says nothing more. A process that lives says so every third of it; one that was only slow
 * shares the batch with another one then, which does no harm.
 */
export const LEASE_MS = 10_000;
/**
 * The store remembers 1,000 tokens. New batches wait when a batch that may be in the store is so many inserts behind: its replay
 * must still be recognised, however many workers insert meanwhile.
 */
const MAX_INSERTS_AHEAD = 500;
/** A retry that is due later than this was put off by a clock that has been set back since. */
const MAX_DELAY_MS = 3_600_000;

/**
 * Gives a batch to a holder: one whose holder fell silent, one that is ready, else a new plan. Answers `b`, id, lane, attempt,
 * interruptions, lines of the entries; or `w` and in how many milliseconds something is due, -1 when nothing is known of.
 *
 * ARGV: channel, signal, id of a new batch, holder, whether this was asked before without an answer, most bytes, most items, most
 * age, batches a second.
 */
export const TAKE = queueScript(
  'flags=allow-oom',
  `
local signal, holder = ARGV[2], ARGV[4]
local maxBytes, maxItems, maxAge = tonumber(ARGV[6]), tonumber(ARGV[7]), tonumber(ARGV[8])
local HELD, READY, AGE, FULL = P .. 'held:' .. signal, P .. 'ready:' .. signal, P .. 'age:' .. signal, P .. 'full:' .. signal
local BYTES, ITEMS, TURN, BEGUN = P .. 'bytes:' .. signal, P .. 'items:' .. signal, P .. 'turn:' .. signal, P .. 'begun:' .. signal
local RATE = P .. 'rate:' .. time[1]

local function view(id)
  local batch = redis.call('HMGET', P .. 'batch:' .. id, 'lane', 'attempt', 'interruptions', 'entries')
  return {'b', id, batch[1], batch[2], batch[3], batch[4]}
end
local function give(id)
  redis.call('HINCRBY', P .. 'batch:' .. id, 'attempt', 1)
  redis.call('HSET', P .. 'batch:' .. id, 'holder', holder, 'given-at', now)
  redis.call('ZREM', READY, id)
  redis.call('ZADD', HELD, now + ${LEASE_MS}, id)
  redis.call('INCR', RATE)
  redis.call('PEXPIRE', RATE, 5000)
  return view(id)
end

if ARGV[5] == '1' then
  for _, id in ipairs(redis.call('ZRANGE', HELD, 0, -1)) do
    if redis.call('HGET', P .. 'batch:' .. id, 'holder') == holder then return view(id) end
  end
end
if redis.call('EXISTS', P .. 'paused') == 1 then return {'w', -1} end
if tonumber(redis.call('GET', RATE) or '0') >= tonumber(ARGV[9]) then return {'w', 1000 - math.floor(time[2] / 1000)} end

-- A clock that was set back would put these off.
for _, id in ipairs(redis.call('ZRANGEBYSCORE', HELD, now + ${LEASE_MS + 1000}, '+inf', 'LIMIT', 0, 16)) do
  redis.call('ZADD', HELD, now + ${LEASE_MS}, id)
end
for _, id in ipairs(redis.call('ZRANGEBYSCORE', READY, now + ${MAX_DELAY_MS}, '+inf', 'LIMIT', 0, 16)) do
  redis.call('ZADD', READY, now, id)
end

local silent = redis.call('ZRANGEBYSCORE', HELD, '-inf', now, 'LIMIT', 0, 1)[1]
if silent then
  if redis.call('HEXISTS', P .. 'batch:' .. silent, 'begun') == 0 then
    redis.call('HINCRBY', P .. 'batch:' .. silent, 'interruptions', 1)
  end
  return give(silent)
end
local ready = redis.call('ZRANGEBYSCORE', READY, '-inf', now, 'LIMIT', 0, 1)[1]
if ready then return give(ready) end

local behind = redis.call('ZRANGE', BEGUN, 0, 0, 'WITHSCORES')[2]
local inserts = tonumber(redis.call('HGET', C, 'inserts:' .. signal) or '0')
if behind and inserts - tonumber(behind) >= ${MAX_INSERTS_AHEAD} then return {'w', 100} end

local function isFull(lane)
  return tonumber(redis.call('HGET', BYTES, lane) or '0') >= maxBytes or tonumber(redis.call('HGET', ITEMS, lane) or '0') >= maxItems
end
-- Whoever adds has to know what is full.
local limits = redis.call('HMGET', C, 'full-bytes:' .. signal, 'full-items:' .. signal)
if limits[1] ~= ARGV[6] or limits[2] ~= ARGV[7] then
  redis.call('HSET', C, 'full-bytes:' .. signal, ARGV[6], 'full-items:' .. signal, ARGV[7])
  redis.call('DEL', FULL)
  for _, lane in ipairs(redis.call('HKEYS', BYTES)) do
    if isFull(lane) then redis.call('SADD', FULL, lane) end
  end
end

-- The lane whose turn was longest ago, of those that are due.
local lane, laneTurn
local function consider(lanes)
  for _, candidate in ipairs(lanes) do
    local turn = tonumber(redis.call('ZSCORE', TURN, candidate) or '0')
    if not lane or turn < laneTurn then lane, laneTurn = candidate, turn end
  end
end
consider(redis.call('ZRANGEBYSCORE', AGE, '-inf', now - maxAge, 'LIMIT', 0, 32))
consider(redis.call('ZRANGEBYSCORE', AGE, now + 1000, '+inf', 'LIMIT', 0, 32))
consider(redis.call('SRANDMEMBER', FULL, 32))

if not lane then
  local due = math.huge
  for key, wait in pairs({[HELD] = 0, [READY] = 0, [AGE] = maxAge}) do
    local first = redis.call('ZRANGE', key, 0, 0, 'WITHSCORES')[2]
    if first then due = math.min(due, tonumber(first) + wait) end
  end
  return {'w', due == math.huge and -1 or math.min(math.max(0, due - now), 86400000)}
end

local LANE = P .. 'lane:' .. signal .. ':' .. lane
local lines, bytes, items, cost, oldest, isOver = {}, 0, 0, 0, now, false
while not isOver and #lines < ${MAX_BATCH_ENTRIES} do
  local chunk = redis.call('LRANGE', LANE, #lines, #lines + 255)
  if #chunk == 0 then break end
  for _, line in ipairs(chunk) do
    local lineBytes, lineItems, added = numbersOf(line)
    isOver = #lines > 0 and (bytes + lineBytes > maxBytes or items + lineItems > maxItems)
    if isOver then break end
    lines[#lines + 1] = line
    bytes, items, cost, oldest = bytes + lineBytes, items + lineItems, cost + costOf(lineBytes), math.min(oldest, added)
  end
end
redis.call('LTRIM', LANE, #lines, -1)
local first = redis.call('LINDEX', LANE, 0)
if first then
  local _, _, added = numbersOf(first)
  redis.call('HINCRBY', BYTES, lane, -bytes)
  redis.call('HINCRBY', ITEMS, lane, -items)
  redis.call('ZADD', AGE, added, lane)
  redis.call('ZADD', TURN, redis.call('HINCRBY', C, 'turns:' .. signal, 1), lane)
else
  redis.call('HDEL', BYTES, lane)
  redis.call('HDEL', ITEMS, lane)
  redis.call('ZREM', AGE, lane)
  redis.call('ZREM', TURN, lane)
end
if not first or not isFull(lane) then redis.call('SREM', FULL, lane) end

local id = ARGV[3]
redis.call('HSET', P .. 'batch:' .. id, 'signal', signal, 'lane', lane, 'entries', table.concat(lines, '\\n'), 'count', #lines,
  'bytes', bytes, 'items', items, 'cost', cost, 'attempt', 0, 'interruptions', 0)
redis.call('ZADD', P .. 'planned:' .. signal, oldest, id)
return give(id)
`,
);
