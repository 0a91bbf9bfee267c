import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { type AnswerKind, groupsChanged, timeGroupOf } from './time-groups.js';

const HOUR_MS = 3_600_000;
const DAY_MS = 24 * HOUR_MS;
const NOW_MS = Date.UTC(2026, 4, 5, 12);
const range = (fromMs: number, toMs: number) => ({
  fromNs: BigInt(fromMs) * 1_000_000n,
  toNs: BigInt(toMs) * 1_000_000n,
});

describe('Groups of answers by time', () => {
  it('keep ranges up to now apart from closed ones, and those by day', () => {
    const groupOf = (fromMs: number, toMs: number, kind: AnswerKind = 'logs') =>
      timeGroupOf(kind, range(fromMs, toMs), NOW_MS);
    assert.equal(groupOf(NOW_MS - HOUR_MS, NOW_MS), 'live');
    assert.equal(groupOf(NOW_MS - HOUR_MS, NOW_MS + DAY_MS), 'live');
    assert.equal(groupOf(NOW_MS - HOUR_MS, NOW_MS - 599_999), 'live');
    assert.equal(groupOf(NOW_MS - HOUR_MS, NOW_MS - 600_000), `d${NOW_MS / DAY_MS - 0.5}`);
    assert.equal(groupOf(NOW_MS - 25 * HOUR_MS, NOW_MS - HOUR_MS), 'days');
    assert.equal(groupOf(NOW_MS - 2 * HOUR_MS, NOW_MS - HOUR_MS, 'traces'), 'live', 'reads an hour more');
    assert.equal(
      groupOf(NOW_MS - 12 * HOUR_MS, NOW_MS - HOUR_MS, 'metrics'),
      'days',
      'reads ten minutes more',
    );
  });

  it('of fresh rows are the live ones alone', () => {
    assert.deepEqual(groupsChanged({ minMs: NOW_MS - 300_000, maxMs: NOW_MS + HOUR_MS }, NOW_MS), ['live']);
  });

  it('of late rows are those of their days too, of very spread ones all', () => {
    const day = NOW_MS / DAY_MS - 0.5;
    assert.deepEqual(groupsChanged({ minMs: NOW_MS - DAY_MS, maxMs: NOW_MS }, NOW_MS), [
      'live',
      'days',
      `d${day - 1}`,
      `d${day}`,
    ]);
    assert.equal(groupsChanged({ minMs: NOW_MS - 8 * DAY_MS, maxMs: NOW_MS }, NOW_MS), undefined);
  });

  it('that rows change hold every answer that has one of them, asked before or up to now, with clocks minutes apart', () => {
    const within = fc.integer({ min: NOW_MS - 20 * DAY_MS, max: NOW_MS + HOUR_MS });
    const apart = fc.integer({ min: -240_000, max: 240_000 });
    fc.assert(
      fc.property(
        within,
        within,
        within,
        within,
        fc.nat(20 * DAY_MS),
        apart,
        (a, b, c, d, agoMs, apartMs) => {
          const [fromMs, toMs] = [Math.min(a, b), Math.max(a, b) + 1];
          const [minMs, maxMs] = [Math.min(c, d), Math.max(c, d)];
          if (!(minMs < toMs && maxMs >= fromMs)) return;
          const changed = groupsChanged({ minMs, maxMs }, NOW_MS);
          const group = timeGroupOf('logs', range(fromMs, toMs), NOW_MS - agoMs + apartMs);
          assert.ok(changed === undefined || changed.includes(group), `${group} of ${changed}`);
        },
      ),
      { numRuns: 5000 },
    );
  });
});
