import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { AppError } from '../errors.js';
import { parseTime, resolveRange } from './time.js';

const NOW_MS = Date.parse('2026-01-01T12:00:00.500Z');
const NOW_NS = BigInt(NOW_MS) * 1_000_000n;
const SECOND = 1_000_000_000n;

const fixed = (text: string) => {
  const time = parseTime(text);
  return time && 'unixNano' in time ? time.unixNano : undefined;
};
const utc = (text: string) => BigInt(Date.parse(text)) * 1_000_000n;

describe('A time', () => {
  it('may be ISO 8601 with up to nine decimals, UTC unless it says otherwise', () => {
    assert.equal(fixed('2026-01-01T00:00:00.123456789Z'), 1_767_225_600_123_456_789n);
    assert.equal(fixed('2026-01-01T00:00:00.5'), 1_767_225_600_500_000_000n);
    assert.equal(fixed('2026-01-01 00:00'), utc('2026-01-01T00:00:00Z'));
    assert.equal(fixed('2026-01-01'), utc('2026-01-01T00:00:00Z'));
    assert.equal(fixed('2026-01-01T02:00:00+02:00'), utc('2026-01-01T00:00:00Z'));
    assert.equal(fixed('2025-12-31T19:00:00-0500'), utc('2026-01-01T00:00:00Z'));
  });

  it('may be Unix milliseconds', () => {
    assert.equal(fixed('1767225600123'), 1_767_225_600_123_000_000n);
    assert.equal(fixed('0'), 0n);
  });

  it('may be now, or seconds, minutes, hours, days or weeks before it', () => {
    const before = (text: string) => {
      const time = parseTime(text);
      return time && 'beforeNowNs' in time ? time.beforeNowNs / SECOND : undefined;
    };
    assert.deepEqual(['now', 'now-30s', 'now-15m', 'NOW-1h', 'now-2d', 'now-1w'].map(before), [
      0n,
      30n,
      900n,
      3600n,
      172_800n,
      604_800n,
    ]);
  });

  it('is nothing else', () => {
    const wrong = [
      '',
      'x',
      'now-1',
      'now-1y',
      'now-',
      '-5',
      '1.5',
      '2026-02-30',
      '2026-13-01',
      '2026-01-01T25:00:00Z',
    ];
    const more = [
      '1969-12-31T23:59:59Z',
      '2263-01-01',
      '99999999999999',
      '2026-01-01T00:00:00.1234567890Z',
      "now' OR 1=1",
    ];
    for (const text of [...wrong, ...more]) assert.equal(parseTime(text), undefined, text);
  });
});

describe('A time range', () => {
  const range = (from?: string, to?: string) =>
    resolveRange(from ? parseTime(from) : undefined, to ? parseTime(to) : undefined, NOW_MS);

  it('is the last hour unless it is given', () => {
    assert.deepEqual(range(), { fromNs: NOW_NS - 3600n * SECOND, toNs: NOW_NS });
    assert.deepEqual(range('now-1d'), { fromNs: NOW_NS - 86_400n * SECOND, toNs: NOW_NS });
    const to = utc('2026-01-01T06:00:00Z');
    assert.deepEqual(range(undefined, '2026-01-01T06:00'), { fromNs: to - 3600n * SECOND, toNs: to });
    assert.deepEqual(range('now-9999w'), { fromNs: 0n, toNs: NOW_NS });
  });

  it('must not be empty', () => {
    for (const [from, to] of [
      ['now', 'now'],
      ['now', 'now-1s'],
      ['2030-01-01', undefined],
    ]) {
      assert.throws(
        () => range(from, to),
        (error) => error instanceof AppError && error.code === 'INVALID_ARGUMENT',
      );
    }
  });
});
