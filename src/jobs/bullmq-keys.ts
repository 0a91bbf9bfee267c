import { redisScript } from '../connections/redis.js';
import type { QueueName } from '../queue-numbers.js';

/** BullMQ's own default, so that the usual tools find the queues. */
export const PREFIX = 'bull';

/** Where BullMQ keeps what it knows of a queue. */
export const bullKey = (queue: QueueName, name: string) => `${PREFIX}:${queue}:${name}`;

/** What BullMQ does not keep: repetitions, their next ticks, what is known of them, counters. */
export const ownKey = (queue: QueueName, name: 'repeats' | 'ticks' | 'about' | 'counters') =>
  `tf:jobs:${queue}:${name}`;

const NUMBERED = /^\d+$/;

/**
 * The id of a job as BullMQ may have it: it refuses numbers and colons, and an id such as `wait` would be the key of one of its lists. A job
 * that was added without a name has the number that BullMQ gave it, `~17` here: names have no `~`.
 */
export function toBullId(id: string): string {
  return id.startsWith('~') ? id.slice(1) : `j.${id.replace(':', '@')}`;
}

/** The other way; what another program added under a name keeps it. */
export function fromBullId(id: string): string {
  if (id.startsWith('j.')) return id.slice(2).replace('@', ':');
  return NUMBERED.test(id) ? `~${id}` : id;
}

/** The tick that a repeated job is for. */
export function tickOf(id: string): number | undefined {
  const colon = id.lastIndexOf(':');
  return colon === -1 ? undefined : Number(id.slice(colon + 1));
}

/** Since when the oldest job of a queue could run (ms since 1970), or 0; of each priority the first one is looked at. */
export const OLDEST = redisScript(`
local prefix, now = KEYS[1], tonumber(ARGV[1])
local oldest = now
local function look(id)
  local f = redis.call('HMGET', prefix .. id, 'timestamp', 'opts', 'atm', 'processedOn', 'tf:back')
  if not f[1] then return end
  local since = tonumber(f[1])
  local opts = f[2] and cjson.decode(f[2]) or {}
  local tries = tonumber(f[3] or 0)
  if f[5] then since = tonumber(f[5])
  elseif opts['delay'] then since = since + opts['delay'] end
  if tries > 0 and f[4] then
    local pause = type(opts['backoff']) == 'table' and opts['backoff']['delay'] * 2 ^ (tries - 1) or 0
    since = math.max(since, tonumber(f[4]) + pause)
  end
  oldest = math.min(oldest, since)
end
for _, list in ipairs({'wait', 'paused'}) do
  local id = redis.call('LINDEX', prefix .. list, -1)
  if id then look(id) end
end
local from = '-inf'
for _ = 1, 20 do
  local first = redis.call('ZRANGEBYSCORE', prefix .. 'prioritized', from, '+inf', 'WITHSCORES', 'LIMIT', 0, 1)
  if not first[1] then break end
  look(first[1])
  from = string.format('%.0f', (math.floor(tonumber(first[2]) / 0x100000000) + 1) * 0x100000000)
end
local due = redis.call('ZRANGE', prefix .. 'delayed', 0, 0, 'WITHSCORES')
if due[2] then oldest = math.min(oldest, math.floor(tonumber(due[2]) / 0x1000)) end
return string.format('%.0f', oldest)
`);

/** Under which run of the repetitions, and after how many changes: a Redis that was emptied has another run. */
const CHANGED = `
local function changed(about)
  redis.call('HSETNX', about, 'born', ARGV[1])
  redis.call('HINCRBY', about, 'changes', 1)
end
`;

/** Sets a repetition. One with the same cron line keeps its next tick: it may be one that was missed. */
export const PUT_REPEAT = redisScript(`${CHANGED}
local repeats, ticks, about = KEYS[1], KEYS[2], KEYS[3]
local key, entry, cron, tick = ARGV[2], ARGV[3], ARGV[4], ARGV[5]
local before = redis.call('HGET', repeats, key)
if before == entry and redis.call('ZSCORE', ticks, key) then return 0 end
redis.call('HSET', repeats, key, entry)
if not before or cjson.decode(before)['cron'] ~= cron or not redis.call('ZSCORE', ticks, key) then
  redis.call('ZADD', ticks, tick, key)
end
changed(about)
return 1
`);

/** Ends a repetition; 1 when there was one. */
export const STOP_REPEAT = redisScript(`${CHANGED}
local repeats, ticks, about = KEYS[1], KEYS[2], KEYS[3]
redis.call('ZREM', ticks, ARGV[2])
if redis.call('HDEL', repeats, ARGV[2]) == 0 then return 0 end
changed(about)
return 1
`);
