import type { RedisScript } from '../connections/redis.js';
import { queueScript } from './script.js';
import { LEASE_MS } from './take-script.js';

/** Of a batch in somebody's hands. ARGV: channel, id, holder, ...; answers 0 when it is not the holder's, and changes nothing then. */
function heldScript(lua: string): RedisScript {
  return queueScript(
    'flags=allow-oom',
    `
local id, holder = ARGV[2], ARGV[3]
local BATCH = P .. 'batch:' .. id
local batch = redis.call('HMGET', BATCH, 'holder', 'signal', 'lane', 'entries', 'count', 'bytes', 'items', 'cost', 'interruptions', 'given-at')
if batch[1] ~= holder then return 0 end
local signal, entries = batch[2], batch[4]
local function forget()
  redis.call('DEL', BATCH)
  for _, set in ipairs({'held:', 'ready:', 'begun:', 'planned:'}) do redis.call('ZREM', P .. set .. signal, id) end
end
-- Its entries wait no more; those of a failed one still count against the limit.
local function over()
  forget()
  for line in string.gmatch(entries, '[^\\n]+') do noteLine(signal, batch[3], line, -1) end
  noteMinutes()
  count('entries', -batch[5])
  count('bytes', -batch[6])
  count('items:' .. signal, -batch[7])
end
${lua}
return 1
`,
  );
}

/** ARGV also: blocks of the insert. */
export const BEGIN_INSERT = heldScript(`
local inserts = redis.call('HINCRBY', C, 'inserts:' .. signal, ARGV[4])
redis.call('HSET', BATCH, 'begun', 1)
redis.call('ZADD', P .. 'begun:' .. signal, 'NX', inserts - ARGV[4], id)
redis.call('ZADD', P .. 'held:' .. signal, now + ${LEASE_MS}, id)
`);

export const DONE = heldScript(`
over()
count('cost', -batch[8])
count('done-batches', 1)
count('busy-ms', math.max(0, now - (batch[10] or now)))
local bodies = {}
local function drop()
  if #bodies > 0 then redis.call('UNLINK', unpack(bodies)) end
  bodies = {}
end
for entry in string.gmatch(entries, '([^\\n ]+) [^\\n]+') do
  bodies[#bodies + 1] = P .. 'body:' .. entry
  if #bodies == 500 then drop() end
end
drop()
`);

/** ARGV also: milliseconds until it is due again, and by how much the number of its attempts changes. */
export const PUT_BACK = heldScript(`
redis.call('HDEL', BATCH, 'holder')
if ARGV[5] == '0' then count('failures', 1) end
redis.call('HINCRBY', BATCH, 'attempt', ARGV[5])
redis.call('ZREM', P .. 'held:' .. signal, id)
redis.call('ZADD', P .. 'ready:' .. signal, now + ARGV[4], id)
tell(signal)
`);

/** ARGV also: the ids of both halves. */
export const SPLIT = heldScript(`
local lines = {}
for line in string.gmatch(entries, '[^\\n]+') do lines[#lines + 1] = line end
local middle = math.ceil(#lines / 2)
local function half(newId, from, to, order)
  local bytes, items, cost, oldest = 0, 0, 0, now
  for i = from, to do
    local lineBytes, lineItems, added = numbersOf(lines[i])
    bytes, items, cost, oldest = bytes + lineBytes, items + lineItems, cost + costOf(lineBytes), math.min(oldest, added)
  end
  redis.call('HSET', P .. 'batch:' .. newId, 'signal', signal, 'lane', batch[3], 'entries', table.concat(lines, '\\n', from, to),
    'count', to - from + 1, 'bytes', bytes, 'items', items, 'cost', cost, 'attempt', 0,
    'interruptions', batch[9])
  redis.call('ZADD', P .. 'planned:' .. signal, oldest, newId)
  redis.call('ZADD', P .. 'ready:' .. signal, now - 1 + order / 2, newId)
end
count('failures', 1)
half(ARGV[4], 1, middle, 0)
half(ARGV[5], middle + 1, #lines, 1)
forget()
tell(signal)
`);

/** ARGV also: for each of its entries its id and what is kept of it, as JSON. */
export const FAIL = heldScript(`
over()
for i = 4, #ARGV, 2 do
  redis.call('HSET', P .. 'failed', ARGV[i], ARGV[i + 1])
  redis.call('ZADD', P .. 'failed-at', now, ARGV[i])
end
count('failures', 1)
count('failed-entries', batch[5])
count('failed-bytes', batch[6])
`);

/** Prolongs leases. ARGV: channel, then id and holder of each batch; answers the ids that are not their holders' any more. */
export const RENEW = queueScript(
  'flags=allow-oom',
  `
local lost = {}
for i = 2, #ARGV, 2 do
  local batch = redis.call('HMGET', P .. 'batch:' .. ARGV[i], 'holder', 'signal')
  if batch[1] == ARGV[i + 1] then redis.call('ZADD', P .. 'held:' .. batch[2], now + ${LEASE_MS}, ARGV[i])
  else lost[#lost + 1] = ARGV[i] end
end
return lost
`,
);
