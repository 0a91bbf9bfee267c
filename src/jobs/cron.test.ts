import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { checkCron, tickAfter, tickUntil } from './cron.js';

const at = (text: string) => Date.parse(`${text}Z`);

describe('The ticks of a cron line', () => {
  it('are in UTC, five fields from the minute on or six from the second on', () => {
    assert.equal(tickAfter('30 2 * * *', at('2026-03-29T00:00:00')), at('2026-03-29T02:30:00'));
    assert.equal(tickAfter('*/15 * * * * *', at('2026-03-29T00:00:01')), at('2026-03-29T00:00:15'));
    assert.equal(tickAfter('0 0 29 2 *', at('2026-03-01T00:00:00')), at('2028-02-29T00:00:00'));
  });

  it('until a point in time take it in, those after it do not', () => {
    const hour = at('2026-01-01T05:00:00');
    assert.equal(tickUntil('0 * * * *', hour), hour);
    assert.equal(tickUntil('0 * * * *', hour - 1), hour - 3_600_000);
    assert.equal(tickUntil('0 * * * *', hour + 3_599_999), hour);
    assert.equal(tickAfter('0 * * * *', hour), hour + 3_600_000);
    assert.equal(tickAfter('0 * * * *', hour - 1), hour);
  });

  it('that can never come are refused', () => {
    checkCron('0 0 29 2 *', at('2026-03-01T00:00:00'));
    assert.throws(() => checkCron('0 0 30 2 *', at('2026-03-01T00:00:00')), /cron/);
  });
});
