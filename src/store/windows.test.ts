import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { Random } from '../../test/support/seed.js';
import { AppError } from '../errors.js';
import { readInWindows, type Window, windowsOf } from './windows.js';

const MINUTE_NS = 60_000_000_000n;
const DAY_NS = 1440n * MINUTE_NS;
const minutes = ({ range: { fromNs, toNs } }: Window) => Number((toNs - fromNs) / MINUTE_NS);
const tooExpensive = () => new AppError('QUERY_TOO_EXPENSIVE', 'The question was stopped.');

describe('Windows of a search', () => {
  it('grow from the end where reading begins', () => {
    const hour = { fromNs: 0n, toNs: 60n * MINUTE_NS };
    assert.deepEqual([...windowsOf(hour, undefined, true)].map(minutes), [15, 45]);
    const month = { fromNs: 0n, toNs: 30n * DAY_NS };
    const windows = [...windowsOf(month, undefined, true)];
    assert.deepEqual(windows.map(minutes).slice(0, 2), [15, 1440]);
    assert.equal(windows.length, 3);
    assert.equal(windows[0].range.toNs, month.toNs);
    assert.equal([...windowsOf(month, undefined, false)][0].range.fromNs, 0n);
  });

  it('cover the range without a gap and without an overlap, from where a page begins', () => {
    const random = Random.announced('windows');
    for (let round = 0; round < 500; round++) {
      const fromNs = BigInt(random.below(1e9)) * 1_000_000_000n;
      const range = {
        fromNs,
        toNs: fromNs + 1n + BigInt(random.below(2 ** 31)) * BigInt(10 ** random.below(7)),
      };
      const length = range.toNs - range.fromNs;
      const begin = random.below(2)
        ? range.fromNs + (length * BigInt(random.below(1000))) / 1000n
        : undefined;
      for (const newestFirst of [true, false]) {
        const windows = [...windowsOf(range, begin, newestFirst)];
        const ordered = newestFirst ? windows.toReversed() : windows;
        assert.equal(ordered[0].range.fromNs, newestFirst ? range.fromNs : (begin ?? range.fromNs));
        const end = newestFirst && begin !== undefined ? begin + 1n : range.toNs;
        assert.equal(ordered.at(-1)!.range.toNs, end);
        for (const [index, window] of ordered.entries()) {
          assert.ok(window.range.fromNs < window.range.toNs);
          if (index > 0) assert.equal(window.range.fromNs, ordered[index - 1].range.toNs);
        }
        assert.deepEqual(
          windows.map(({ isFirst }) => isFirst),
          windows.map((_, index) => index === 0),
        );
      }
    }
  });

  it('are asked until there is enough', async () => {
    const asked: number[] = [];
    const month = windowsOf({ fromNs: 0n, toNs: 30n * DAY_NS }, undefined, true);
    const { rows } = await readInWindows(month, 3, async (window) => {
      asked.push(minutes(window));
      return ['row', 'row'];
    });
    assert.deepEqual([asked, rows.length], [[15, 15], 4]);
  });

  it('are as long as the rest of the page needs where something was found, and longer where nothing was', () => {
    const windows = windowsOf({ fromNs: 0n, toNs: 30n * DAY_NS }, undefined, true);
    const next = (found?: number) => minutes(windows.next(found).value as Window);
    assert.equal(next(), 15);
    assert.equal(next(0), 1440);
    // A fifth in 1,455 minutes: four times as long, and half of it more.
    assert.equal(next(0.2), 1455 * 6);
    assert.equal(next(0.99), 154);
  });

  it('give what was found before a limit was hit, and fail where there is nothing to give', async () => {
    const month = () => windowsOf({ fromNs: 0n, toNs: 30n * DAY_NS }, undefined, true);
    const { rows, partialReason } = await readInWindows(month(), 3, async ({ isFirst }) => {
      if (isFirst) return ['row'];
      throw tooExpensive();
    });
    assert.deepEqual(rows, ['row']);
    assert.match(partialReason!, /stopped\. Not searched: 1970-01-30T23:00:00.* to 1970-01-30T23:45:00/);
    const nothing = readInWindows(month(), 3, async ({ isFirst }) => {
      if (isFirst) return [];
      throw tooExpensive();
    });
    await assert.rejects(nothing, /stopped/);
    const broken = readInWindows(month(), 3, async ({ isFirst }) => {
      if (isFirst) return ['row'];
      throw new AppError('UNAVAILABLE', 'away');
    });
    await assert.rejects(broken, /away/);
  });
});
