import { queueScript } from './script.js';

/** Values of one entry in `ADD`. */
export const VALUES_PER_ENTRY = 9;

/**
 * Adds entries; all or, on an error, none. A body that was seen is told of, one that finds no room is refused.
 *
 * ARGV: channel, bytes allowed, then for each entry: what its body is known by, signal, lane, id, items, received-at and
 * retention-days, what its client is told, what was refused of it, body. Answers one for each: `` added, `D<told>` seen before, `F<bytes that wait>` no room.
 */
export const ADD = queueScript(
  '',
  `
local allowed = tonumber(ARGV[2])
local cost = tonumber(redis.call('HGET', C, 'cost') or '0')
local before, bytes, entries, duplicates = cost, 0, 0, 0
local items, woken, answers = {}, {}, {}
for i = 3, #ARGV, ${VALUES_PER_ENTRY} do
  local seen, signal, lane, id = P .. 'seen:' .. ARGV[i], ARGV[i + 1], ARGV[i + 2], ARGV[i + 3]
  local count, times, told, size = ARGV[i + 4], ARGV[i + 5], ARGV[i + 6], #ARGV[i + 8]
  local known = redis.call('GET', seen)
  if known then
    duplicates = duplicates + 1
    answers[#answers + 1] = 'D' .. known
  elseif cost + costOf(size) > allowed then
    answers[#answers + 1] = 'F' .. cost
  else
    redis.call('SET', P .. 'body:' .. id, ARGV[i + 8])
    redis.call('SET', seen, told, 'PX', 600000)
    if enqueue(signal, lane, id .. ' ' .. size .. ' ' .. count .. ' ' .. times .. ' ' .. now .. ' ' .. ARGV[i + 7]) then woken[signal] = true end
    cost, bytes, entries = cost + costOf(size), bytes + size, entries + 1
    items[signal] = (items[signal] or 0) + tonumber(count)
    answers[#answers + 1] = ''
  end
end
count('cost', cost - before)
count('bytes', bytes)
count('entries', entries)
count('added', entries)
count('added-bytes', bytes)
count('duplicates', duplicates)
noteMinutes()
for signal, sum in pairs(items) do count('items:' .. signal, sum) end
for signal in pairs(woken) do tell(signal) end
return answers
`,
);
