import { SIGNALS } from '../signal.js';
import { queueScript } from './script.js';

const SIGNAL_LIST = `{${SIGNALS.map((signal) => `'${signal}'`).join(', ')}}`;

/**
 * Answers: number of plans, age of the oldest entry, whether paused, names and values of all sums, number of plans that somebody
 * holds and of those that are due later, and for how long the first that could be taken has been due.
 */
export const STATS = queueScript(
  'flags=no-writes',
  `
local plans, oldest, held, later, due = 0, now, 0, 0, now
for _, signal in ipairs(${SIGNAL_LIST}) do
  plans = plans + redis.call('ZCARD', P .. 'planned:' .. signal)
  held = held + redis.call('ZCARD', P .. 'held:' .. signal)
  later = later + redis.call('ZCOUNT', P .. 'ready:' .. signal, '(' .. now, '+inf')
  for _, set in ipairs({'ready:', 'age:'}) do
    due = math.min(due, tonumber(redis.call('ZRANGE', P .. set .. signal, 0, 0, 'WITHSCORES')[2] or now))
  end
  for _, set in ipairs({'planned:', 'age:'}) do
    oldest = math.min(oldest, tonumber(redis.call('ZRANGE', P .. set .. signal, 0, 0, 'WITHSCORES')[2] or now))
  end
end
return {plans, now - oldest, redis.call('EXISTS', P .. 'paused'), redis.call('HGETALL', C), held, later, now - due}
`,
);

/**
 * What waits: signal, lane, items, bytes and age of the oldest entry for each lane and each plan, one after the other; then signal,
 * `minute reason lane` and items for each sum by minute.
 */
export const WAITING = queueScript(
  'flags=no-writes',
  `
local answer, minutesOf = {}, {}
local function say(...)
  for _, value in ipairs({...}) do answer[#answer + 1] = value end
end
for _, signal in ipairs(${SIGNAL_LIST}) do
  local lanes = redis.call('ZRANGE', P .. 'age:' .. signal, 0, -1, 'WITHSCORES')
  for i = 1, #lanes, 2 do
    local lane = lanes[i]
    say(signal, lane, redis.call('HGET', P .. 'items:' .. signal, lane), redis.call('HGET', P .. 'bytes:' .. signal, lane),
      now - tonumber(lanes[i + 1]))
  end
  local sums = redis.call('HGETALL', P .. 'minutes:' .. signal)
  for i = 1, #sums, 2 do
    minutesOf[#minutesOf + 1] = signal
    minutesOf[#minutesOf + 1] = sums[i]
    minutesOf[#minutesOf + 1] = sums[i + 1]
  end
  local plans = redis.call('ZRANGE', P .. 'planned:' .. signal, 0, -1, 'WITHSCORES')
  for i = 1, #plans, 2 do
    local batch = redis.call('HMGET', P .. 'batch:' .. plans[i], 'lane', 'items', 'bytes')
    say(signal, batch[1], batch[2], batch[3], now - tonumber(plans[i + 1]))
  end
end
return {answer, minutesOf}
`,
);

/**
 * Whether Redis still has what it had. Without `born` it lost everything: what the caller last saw waiting is noted as lost, by the
 * first one who asks. ARGV: channel, a new `born`, entries and items that the caller last saw. Answers `born`, entries and items now,
 * and whether the loss was noted by this call.
 */
export const WATCH = queueScript(
  'flags=allow-oom',
  `
local isNew = redis.call('SET', P .. 'born', ARGV[2], 'NX') and 1 or 0
if isNew == 1 then
  count('lost-entries', tonumber(ARGV[3]))
  count('lost-items', tonumber(ARGV[4]))
end
local items = 0
for _, signal in ipairs(${SIGNAL_LIST}) do items = items + tonumber(redis.call('HGET', C, 'items:' .. signal) or '0') end
return {redis.call('GET', P .. 'born'), tonumber(redis.call('HGET', C, 'entries') or '0'), items, isNew}
`,
);

/** ARGV: channel, whether paused from now on. Wakes all who wait for batches. */
export const SET_PAUSED = queueScript(
  'flags=allow-oom',
  `
if ARGV[2] == '1' then redis.call('SET', P .. 'paused', now) else redis.call('DEL', P .. 'paused') end
for _, signal in ipairs(${SIGNAL_LIST}) do tell(signal) end
return 1
`,
);
