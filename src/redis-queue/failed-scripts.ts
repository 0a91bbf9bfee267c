import { queueScript } from './script.js';

/** Everything that was given up, the oldest first, as JSON; then the ids of those that are discarded already. */
export const LIST_FAILED = queueScript(
  'flags=no-writes',
  `
local answer = {}
local ids = redis.call('ZRANGE', P .. 'failed-at', 0, -1)
for from = 1, #ids, 500 do
  for _, json in ipairs(redis.call('HMGET', P .. 'failed', unpack(ids, from, math.min(#ids, from + 499)))) do
    if json then answer[#answer + 1] = json end
  end
end
return {answer, redis.call('SMEMBERS', P .. 'discarded')}
`,
);

/** ARGV: channel, ids. From now on they can only be deleted. */
export const MARK_DISCARDED = queueScript(
  'flags=allow-oom',
  `
for i = 2, #ARGV do
  if redis.call('HEXISTS', P .. 'failed', ARGV[i]) == 1 then redis.call('SADD', P .. 'discarded', ARGV[i]) end
end
return 1
`,
);

/** ARGV: channel, ids. Entries whose body is gone stay. Answers how many are back. */
export const RETRY_FAILED = queueScript(
  'flags=allow-oom',
  `
local back, woken = 0, {}
for i = 2, #ARGV do
  local id = ARGV[i]
  local json = redis.call('HGET', P .. 'failed', id)
  if json and redis.call('EXISTS', P .. 'body:' .. id) == 1 and redis.call('SISMEMBER', P .. 'discarded', id) == 0 then
    local entry = cjson.decode(json)
    local reasons = {}
    for code, refused in pairs(entry.reasons or {}) do reasons[#reasons + 1] = string.format('%s=%.0f', code, refused) end
    local line = string.format('%s %.0f %.0f %.0f %.0f %.0f %s', id, entry.bytes, entry.items, entry.receivedAtMs, entry.retentionDays, now,
      #reasons > 0 and table.concat(reasons, ',') or '-')
    if enqueue(entry.signal, entry.lane, {line}) then woken[entry.signal] = true end
    redis.call('HDEL', P .. 'failed', id)
    redis.call('ZREM', P .. 'failed-at', id)
    count('failed-entries', -1)
    count('failed-bytes', -entry.bytes)
    count('entries', 1)
    count('bytes', entry.bytes)
    count('items:' .. entry.signal, entry.items)
    back = back + 1
  end
end
noteMinutes()
for signal in pairs(woken) do tell(signal) end
return back
`,
);

/** ARGV: channel, ids. Answers how many are gone. */
export const DISCARD_FAILED = queueScript(
  'flags=allow-oom',
  `
local gone = 0
for i = 2, #ARGV do
  local id = ARGV[i]
  local json = redis.call('HGET', P .. 'failed', id)
  if json then
    local entry = cjson.decode(json)
    redis.call('HDEL', P .. 'failed', id)
    redis.call('ZREM', P .. 'failed-at', id)
    redis.call('SREM', P .. 'discarded', id)
    redis.call('UNLINK', P .. 'body:' .. id)
    count('failed-entries', -1)
    count('failed-bytes', -entry.bytes)
    count('cost', -costOf(entry.bytes))
    gone = gone + 1
  end
end
return gone
`,
);
