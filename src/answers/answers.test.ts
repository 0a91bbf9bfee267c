import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import pino from 'pino';
import { CacheService } from '../cache/cache.service.js';
import type { Scope } from '../edge/scope.js';
import { parseTime, resolveRange } from '../http/time.js';
import type { Meta } from '../store/statement.js';
import { Answers, type Asked, type Keeping } from './answers.js';
import { keepingBy } from './answers.module.js';
import { GAP_MS, StaleAnswers } from './stale-answers.js';

const NOW_MS = Date.UTC(2026, 4, 5, 12);
const HOUR_MS = 3_600_000;
const scopeOf = (tenantId: string): Scope => ({ organizationId: 'o', workspaceId: 'w', tenantId });
const scope = scopeOf('t1');
const meta: Meta = { source: 'raw', cache: 'miss', rows_read: 5, bytes_read: 50, elapsed_ms: 3 };

function setUp(keeping: Keeping = 'until-changed') {
  const cache = new CacheService({ maxEntries: 100, maxBytes: 1e6 }, undefined, pino({ level: 'silent' }));
  const answers = new Answers(cache, keeping, 'store');
  const stale = new StaleAnswers(cache);
  let asks = 0;
  const never = new AbortController().signal;
  /** @returns which of the asks gave the answer */
  const ask = async (
    about: Partial<Asked> & { times?: [from: string, to?: string]; empty?: boolean },
    nowMs = NOW_MS,
    of = scope,
  ) => {
    const { times: [from, to] = ['now-1h'], empty, ...asked } = about;
    const [begin, end] = [parseTime(from)!, to === undefined ? undefined : parseTime(to)!];
    const range = resolveRange(begin, end, nowMs);
    const question = {
      kind: 'metrics',
      name: 'query',
      from: begin,
      to: end,
      range,
      question: {},
      ...asked,
    } as const;
    const source = async () => ({ nth: ++asks, series: empty ? [] : [1], meta });
    const answer = await answers.get(of, question, nowMs, source, never);
    return answer.nth;
  };
  return { cache, answers, stale, ask };
}

const rowsAt = (...ms: number[]) => ({ minMs: Math.min(...ms), maxMs: Math.max(...ms) });

describe('Answers up to now', () => {
  it('are the same for all who ask the same within a step, until rows come', async () => {
    const { ask, stale } = setUp();
    assert.equal(await ask({}), 1);
    assert.equal(await ask({}, NOW_MS + 9_999), 1);
    assert.equal(await ask({}, NOW_MS + 10_000), 2, 'the hour moves on');
    assert.equal(await ask({ times: ['now-5m'] }), 3);
    assert.equal(await ask({ times: ['now-5m'] }, NOW_MS + 1_000), 4, 'five minutes move on each second');
    stale.stored(scope, 'metrics', rowsAt(NOW_MS), NOW_MS);
    assert.equal(await ask({}), 5);
  });

  it('written with the end or without it are the same', async () => {
    const { ask } = setUp();
    assert.deepEqual(
      [await ask({ times: ['now-1h', 'now'] }), await ask({ times: ['now-60m'] }), await ask({})],
      [1, 1, 1],
    );
  });

  it('of another tenant, kind, name or question are others', async () => {
    const { ask } = setUp();
    assert.equal(await ask({}), 1);
    const others = [{ kind: 'logs' }, { name: 'points' }, { question: { metric: 'cpu' } }] as const;
    for (const [n, other] of others.entries()) assert.equal(await ask(other), n + 2);
    assert.equal(await ask({}, NOW_MS, scopeOf('t2')), 5);
  });

  it('stay when rows of another tenant or signal come', async () => {
    const { ask, stale } = setUp();
    assert.equal(await ask({}), 1);
    stale.stored(scopeOf('t2'), 'metrics', rowsAt(NOW_MS), NOW_MS);
    stale.stored(scope, 'logs', rowsAt(NOW_MS), NOW_MS);
    assert.equal(await ask({}), 1);
  });

  it('about services go with rows of any signal', async () => {
    for (const signal of ['metrics', 'logs', 'traces'] as const) {
      const { ask, stale } = setUp();
      await ask({ kind: 'services' });
      stale.stored(scope, signal, rowsAt(NOW_MS), NOW_MS);
      assert.equal(await ask({ kind: 'services' }), 2, signal);
    }
  });

  it('in long steps outlive rows that come often, but not the first ones', async () => {
    const { ask, stale } = setUp();
    const long = { times: ['now-1d'] as [string], stepMs: 300_000 };
    assert.equal(await ask(long), 1);
    stale.stored(scope, 'metrics', rowsAt(NOW_MS), NOW_MS);
    assert.equal(await ask(long), 2, 'the first after a pause');
    stale.stored(scope, 'metrics', rowsAt(NOW_MS), NOW_MS);
    assert.equal(await ask(long), 2);
    assert.equal(await ask({ ...long, stepMs: 299_999, question: { step: 1 } as object }), 3);
    const hours = { times: ['now-7d'] as [string], stepMs: HOUR_MS };
    assert.deepEqual([await ask(hours), await ask(hours, NOW_MS + 299_000)], [4, 4]);
    const empty = { ...long, empty: true, question: { metric: 'new' } as object };
    assert.equal(await ask(empty), 5);
    assert.deepEqual([await ask(empty), await ask(empty)], [6, 6]);
    await sleep(GAP_MS + 50);
    stale.stored(scope, 'metrics', rowsAt(NOW_MS), NOW_MS);
    assert.equal(await ask(empty), 7, 'a metric that had no points is looked for again');
    assert.equal(await ask(long), 2);
    await stale.close();
  });

  it('that were not there are told of within 250 ms however many batches come', async () => {
    const { ask, stale, cache } = setUp();
    for (let n = 0; n < 100; n++) stale.stored(scope, 'logs', rowsAt(NOW_MS), NOW_MS);
    assert.equal(cache.getStats().invalidations.own, 2);
    await ask({ kind: 'logs' });
    await sleep(GAP_MS + 50);
    assert.equal(await ask({ kind: 'logs' }), 2);
    assert.equal(cache.getStats().invalidations.own, 4, 'the last one is always sent');
    await stale.close();
  });

  it('see rows from ahead of the clock when their time has come', async () => {
    const { ask, stale } = setUp();
    stale.stored(scope, 'logs', rowsAt(NOW_MS + 400), NOW_MS);
    await sleep(GAP_MS + 50);
    const before = await ask({ kind: 'logs' });
    await sleep(300);
    assert.equal(await ask({ kind: 'logs' }), before + 1);
    await stale.close();
  });

  it('are dropped at the end of the process too', async () => {
    const { ask, stale } = setUp();
    stale.stored(scope, 'logs', rowsAt(NOW_MS), NOW_MS);
    await ask({ kind: 'logs' });
    stale.stored(scope, 'logs', rowsAt(NOW_MS), NOW_MS);
    await stale.close();
    assert.equal(await ask({ kind: 'logs' }), 2);
  });
});

describe('Answers that may be some seconds old', () => {
  it('stay while rows come, for who said so', async () => {
    const { ask, stale } = setUp();
    assert.deepEqual([await ask({ max_age: 10 }), await ask({})], [1, 2]);
    stale.stored(scope, 'metrics', rowsAt(NOW_MS), NOW_MS);
    assert.deepEqual([await ask({ max_age: 10 }, NOW_MS + 9_000), await ask({})], [1, 3]);
    assert.equal(await ask({ max_age: 20 }), 4, 'another age is another answer');
    stale.dropTenant(scope, 'metrics');
    await sleep(GAP_MS + 50);
    assert.equal(await ask({ max_age: 10 }), 5, 'rows that were deleted are gone for all');
    await stale.close();
  });

  it('are never older than that, and asked for anew before', async () => {
    const { ask } = setUp();
    assert.equal(await ask({ max_age: 1 }), 1);
    await sleep(800);
    assert.ok((await ask({ max_age: 1 })) <= 2, 'given while the next is asked for');
    await sleep(30);
    assert.ok((await ask({ max_age: 1 })) >= 2);
    await sleep(1_050);
    assert.ok((await ask({ max_age: 1 })) >= 3, 'nobody asked for a second');
  });

  it('are kept as long also where not all who store are heard', async () => {
    const { ask } = setUp('second');
    assert.equal(await ask({ max_age: 10 }), 1);
    await sleep(1_050);
    assert.equal(await ask({ max_age: 10 }), 1);
  });

  it('are those of long steps where these may be as old anyway, and of closed ranges', async () => {
    const { ask, stale } = setUp();
    const hours = { times: ['now-7d'] as [string], stepMs: HOUR_MS };
    assert.deepEqual([await ask(hours), await ask({ ...hours, max_age: 10 })], [1, 1]);
    assert.equal(await ask({ ...hours, max_age: 90 }), 2);
    const closed = { times: [String(NOW_MS - 2 * HOUR_MS), String(NOW_MS - HOUR_MS)] as [string, string] };
    assert.deepEqual([await ask(closed), await ask({ ...closed, max_age: 10 })], [3, 3]);
    await stale.close();
  });
});

describe('Answers about closed ranges', () => {
  const closed = { times: [String(NOW_MS - 2 * HOUR_MS), String(NOW_MS - HOUR_MS)] as [string, string] };

  it('stay while fresh rows come, and go with late ones of their day', async () => {
    const { ask, stale } = setUp();
    assert.equal(await ask(closed), 1);
    stale.stored(scope, 'metrics', rowsAt(NOW_MS - 60_000, NOW_MS), NOW_MS);
    assert.equal(await ask(closed, NOW_MS + HOUR_MS), 1);
    stale.stored(scope, 'metrics', rowsAt(NOW_MS - 48 * HOUR_MS), NOW_MS);
    assert.equal(await ask(closed), 1, 'late rows of another day');
    stale.stored(scope, 'metrics', rowsAt(NOW_MS - 1.5 * HOUR_MS), NOW_MS);
    assert.equal(await ask(closed), 2);
  });

  it('go with rows of many days, and before a worker begins', async () => {
    const { ask, stale } = setUp();
    assert.equal(await ask(closed), 1);
    stale.stored(scope, 'metrics', rowsAt(NOW_MS - 400 * HOUR_MS, NOW_MS), NOW_MS);
    assert.equal(await ask(closed), 2);
    stale.dropAll();
    assert.equal(await ask(closed), 3);
  });

  it('by cursor, whose range is its own, go with any rows', async () => {
    const { ask, stale } = setUp();
    const page = { ...closed, question: { cursor: 'abc' } };
    assert.equal(await ask(page), 1);
    stale.stored(scope, 'metrics', rowsAt(NOW_MS), NOW_MS);
    assert.equal(await ask(page), 2);
  });
});

describe('Whether answers are kept', () => {
  it('depends on whether all who store are heard', async () => {
    const settings = { CACHE_L1_ENTRIES: 1000, CLICKHOUSE_URL: undefined, REDIS_URL: undefined };
    const [CLICKHOUSE_URL, REDIS_URL] = ['http://h', 'redis://h'];
    assert.equal(keepingBy(settings), 'until-changed');
    assert.equal(keepingBy({ ...settings, CLICKHOUSE_URL }), 'second');
    assert.equal(keepingBy({ ...settings, CLICKHOUSE_URL, REDIS_URL }), 'until-changed');
    assert.equal(keepingBy({ ...settings, CACHE_L1_ENTRIES: 0, REDIS_URL }), 'off');
    const off = setUp('off');
    assert.deepEqual([await off.ask({}), await off.ask({})], [1, 2]);
    const second = setUp('second');
    assert.deepEqual([await second.ask({}), await second.ask({})], [1, 1]);
    await sleep(1_050);
    assert.equal(await second.ask({}), 2);
  });

  it('a caller who goes away is told so', async () => {
    const { answers } = setUp();
    const controller = new AbortController();
    const range = resolveRange(undefined, undefined, NOW_MS);
    const asked = { kind: 'logs', name: 'n', from: undefined, to: undefined, range, question: {} } as const;
    const waiting = answers.get(
      scope,
      asked,
      NOW_MS,
      () => new Promise<{ meta: Meta }>(() => undefined),
      controller.signal,
    );
    controller.abort();
    await assert.rejects(waiting, { code: 'REQUEST_TIMEOUT' });
  });
});
