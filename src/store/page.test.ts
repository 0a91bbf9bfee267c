import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { AppError } from '../errors.js';
import { copiesOfLast, estimateTotal, extrapolate, pageAt, placeOf } from './page.js';

const SCOPE = { organizationId: 'o', workspaceId: 'w', tenantId: 't' };
const RANGE = { fromNs: 0n, toNs: 1000n };
const META = { source: 'raw', cache: 'miss', rows_read: 0, bytes_read: 0, elapsed_ms: 0 } as const;

describe('The estimate of a total', () => {
  const counted = (matches: number) => async () => [{ matches: String(matches) }];

  it('is the count while that is small', async () => {
    assert.equal(await estimateTotal(counted(99_999), 5), 99_999);
  });

  it('beyond 100,000 rows is judged by the density of the page', async () => {
    assert.equal(await estimateTotal(counted(100_000), 2_000_000), 2_000_000);
    assert.equal(await estimateTotal(counted(100_000), 7), 100_000);
  });

  it('is judged by the page, too, when counting takes too long; other errors stay errors', async () => {
    const failing = (code: 'QUERY_TOO_EXPENSIVE' | 'UNAVAILABLE') => () =>
      Promise.reject(new AppError(code, 'x'));
    assert.equal(await estimateTotal(failing('QUERY_TOO_EXPENSIVE'), 7), 7);
    await assert.rejects(estimateTotal(failing('UNAVAILABLE'), 7), AppError);
  });

  it('takes the rows to lie as densely in the whole range as on the page', () => {
    // 10 rows in the newest or oldest tenth of the range.
    assert.equal(extrapolate(10, RANGE, 900n, true), 100);
    assert.equal(extrapolate(10, RANGE, 99n, false), 100);
    assert.ok(Number.isFinite(extrapolate(10, RANGE, 1000n, true)));
  });
});

describe('A page', () => {
  const place = (request: { page: number; limit: number; cursor?: string }) =>
    placeOf(SCOPE, 'q', ['f'], RANGE, request, 'is');

  it('gives a cursor that leads to the next one', () => {
    const first = pageAt(place({ page: 1, limit: 2 }), [1, 2], 9, { key: ['5', 'é"'], copies: 1 }, META);
    assert.deepEqual([first.page, first.total_pages], [1, 5]);
    const next = place({ page: 1, limit: 3, cursor: first.next_cursor! });
    assert.deepEqual([next.page, next.offset, next.limit, next.range], [2, 1, 3, RANGE]);
    assert.deepEqual(next.cursor?.key, ['5', 'é"']);
    assert.equal(next.cursor?.total, 9);
  });

  it('without another after it has no cursor, and is the last one', () => {
    const last = pageAt(place({ page: 3, limit: 2 }), [1], 0, undefined, META);
    assert.deepEqual([last.total_pages, last.next_cursor], [3, null]);
    assert.equal(pageAt(place({ page: 1, limit: 2 }), [], 0, undefined, META).total_pages, 0);
  });

  it('by number goes 100,000 rows deep', () => {
    assert.equal(place({ page: 100, limit: 1000 }).offset, 99_000);
    assert.throws(() => place({ page: 101, limit: 1000 }), /go on with next_cursor/);
  });

  it('knows how many copies of its last row were given, on earlier pages too', () => {
    const cursor = { key: ['5', 'a'], copies: 3, page: 2, total: 9, range: RANGE };
    assert.equal(copiesOfLast(['4,x', '5,a', '5,a'], undefined), 2);
    assert.equal(copiesOfLast(['5,a', '5,a'], cursor), 5);
    assert.equal(copiesOfLast(['5,b', '5,b'], cursor), 2);
    assert.equal(copiesOfLast(['4,x', '5,a'], cursor), 1);
  });
});
