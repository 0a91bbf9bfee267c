import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { isActive, type Matcher, matches, type Silence, silencedBy } from './silences.js';

const HOUR = 3_600_000;
const DAY = 24 * HOUR;
const START = Date.UTC(2026, 0, 5, 2);
const once: Silence = { matchers: [], startsMs: START, endsMs: START + HOUR, repeats: null, untilMs: null };

describe('A silence', () => {
  it('holds from its start until its end', () => {
    const at = (ms: number) => isActive(once, START + ms);
    assert.deepEqual([-1, 0, HOUR - 1, HOUR, DAY].map(at), [false, true, true, false, false]);
  });

  it('that repeats holds at the same time each day or week, until its last', () => {
    const daily = (ms: number) =>
      isActive({ ...once, repeats: 'daily', untilMs: START + 3 * DAY }, START + ms);
    assert.deepEqual([-DAY, 0, HOUR, DAY - 1, DAY, DAY + HOUR, 2 * DAY, 3 * DAY].map(daily), [
      false,
      true,
      false,
      false,
      true,
      false,
      true,
      false,
    ]);
    const weekly = (ms: number) => isActive({ ...once, repeats: 'weekly' }, START + ms);
    assert.deepEqual([0, DAY, 7 * DAY, 7 * DAY + HOUR, 700 * DAY].map(weekly), [
      true,
      false,
      true,
      false,
      true,
    ]);
  });

  it('is for what has all of its labels', () => {
    const matcher = (label: string, operator: Matcher['operator'], value: string): Matcher => ({
      label,
      operator,
      value,
    });
    const labels = { service_name: 'shop-eu', team: 'a' };
    const cases: [Matcher[], boolean][] = [
      [[], true],
      [[matcher('team', '=', 'a')], true],
      [[matcher('team', '=', 'b')], false],
      [[matcher('team', '!=', 'b')], true],
      [[matcher('service_name', '=', 'shop*')], true],
      [[matcher('service_name', '=', '*-eu')], true],
      [[matcher('service_name', '=', 's*p-*u')], true],
      [[matcher('service_name', '=', 'shop*-eu*x')], false],
      [[matcher('service_name', '=', 'shop-eu*eu')], false],
      [[matcher('service_name', '=', '*')], true],
      [[matcher('service_name', '=', 'shop.eu')], false],
      [[matcher('service_name', '!=', 'shop*')], false],
      [[matcher('absent', '=', '')], true],
      [[matcher('absent', '!=', '')], false],
      [[matcher('toString', '=', '')], true],
      [[matcher('team', '=', 'a'), matcher('service_name', '=', 'pay')], false],
    ];
    for (const [matchers, expected] of cases)
      assert.equal(matches(matchers, labels), expected, JSON.stringify(matchers));
  });

  it('has its pattern looked for in time that grows with the text alone', () => {
    const value = `${'*a'.repeat(400)}b`;
    assert.equal(matches([{ label: 'x', operator: '=', value }], { x: 'a'.repeat(100_000) }), false);
  });

  it('silences what matches while it is active', () => {
    const silence = { ...once, matchers: [{ label: 'severity', operator: '=', value: 'warning' } as const] };
    const labelsOf = (_: string, level: string | undefined) => ({ severity: level ?? '' });
    const during = silencedBy([silence], labelsOf, START);
    assert.equal(during('[]', 'warning'), true);
    assert.equal(during('[]', 'critical'), false);
    assert.equal(silencedBy([silence], labelsOf, START + HOUR)('[]', 'warning'), false);
  });
});
