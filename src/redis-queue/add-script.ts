import { queueScript } from './script.js';

/** Values of one entry in `ADD`. */
export const VALUES_PER_ENTRY = 4;

/**
 * Adds entries; all or, on an error, none. A body that was seen is told of, one that finds no room is refused.
 *
 * ARGV: channel, bytes allowed, then for each lane: signal, lane, how many entries, and of each what its body is known by, its line up to the
 * retention-days, what was refused of it and, behind a space, what its client is told, its body. Answers one for each in this order: `` added,
 * `D<told>` seen before, `F<bytes that wait>` no room.
 */
export const ADD = queueScript(
  '',
  `
local allowed = tonumber(ARGV[2])
local cost = tonumber(redis.call('HGET', C, 'cost') or '0')
local before, bytes, entries, duplicates = cost, 0, 0, 0
local woken, answers = {}, {}
local function addTo(signal, lane, first, last)
  local lines, bodies, items = {}, {}, 0
  for i = first, last, ${VALUES_PER_ENTRY} do
    local seen, size, known = P .. 'seen:' .. ARGV[i], #ARGV[i + 3], nil
    local isFull = cost + costOf(size) > allowed
    local reasons, told = string.match(ARGV[i + 2], '^(%S+) (.*)$')
    if isFull then known = redis.call('GET', seen) else known = redis.call('SET', seen, told, 'NX', 'GET', 'PX', 600000) end
    if known then
      duplicates = duplicates + 1
      answers[#answers + 1] = 'D' .. known
    elseif isFull then
      answers[#answers + 1] = 'F' .. cost
    else
      local id, count = string.match(ARGV[i + 1], '^(%S+) %d+ (%d+)')
      bodies[#bodies + 1] = P .. 'body:' .. id
      bodies[#bodies + 1] = ARGV[i + 3]
      lines[#lines + 1] = ARGV[i + 1] .. ' ' .. now .. ' ' .. reasons
      cost, bytes, entries, items = cost + costOf(size), bytes + size, entries + 1, items + tonumber(count)
      answers[#answers + 1] = ''
    end
  end
  if #lines == 0 then return end
  redis.call('MSET', unpack(bodies))
  if enqueue(signal, lane, lines) then woken[signal] = true end
  count('items:' .. signal, items)
end
local at = 3
while at <= #ARGV do
  local last = at + 2 + ARGV[at + 2] * ${VALUES_PER_ENTRY}
  addTo(ARGV[at], ARGV[at + 1], at + 3, last)
  at = last + 1
end
count('cost', cost - before)
count('bytes', bytes)
count('entries', entries)
count('added', entries)
count('added-bytes', bytes)
count('duplicates', duplicates)
noteMinutes()
for signal in pairs(woken) do tell(signal) end
return answers
`,
);
