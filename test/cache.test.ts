import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Signal } from '../src/signal.js';
import { call, getJson } from './support/http.js';
import { logRecord, nowNs, point, requestOf, span } from './support/items.js';
import { encode, type Item, sendOtlp } from './support/otlp-client.js';
import { makeDataDir, Server } from './support/server.js';

const HOUR_MS = 3_600_000;
/** Half of the time after which an answer would be over by itself. */
const MAX_MS = 5_000;

describe('The cache under the query API', () => {
  let server: Server;
  before(async () => {
    server = await Server.start(makeDataDir());
  });
  after(() => server?.stop());

  const send = async (signal: Signal, ...items: Item[]) => {
    const { status } = await sendOtlp(
      server.otlp,
      signal,
      'json',
      encode(signal, 'json', requestOf(signal, items)),
    );
    assert.equal(status, 200);
  };
  // biome-ignore lint/suspicious/noExplicitAny: whatever JSON the route answers
  const get = async (path: string): Promise<any> => {
    const { status, body } = await getJson(`${server.api}/api/v1/${path}`, server.key);
    assert.equal(status, 200, JSON.stringify(body));
    return body;
  };
  /** Asks all the time, so that the answer is cached when the rows come. */
  async function untilSeen(path: string, isSeen: (body: Awaited<ReturnType<typeof get>>) => boolean) {
    const startedAt = performance.now();
    while (!isSeen(await get(path))) {
      assert.ok(performance.now() - startedAt < MAX_MS, `${path} still without it after ${MAX_MS} ms`);
      await sleep(20);
    }
  }
  const rows = (count: number) => (body: { data: unknown[] }) => body.data.length === count;

  it('shows what was sent however lately the same question was answered', async () => {
    const trace = '5b8efff798038103d269b633813fc60c';
    for (const count of [1, 2, 3]) {
      await Promise.all([
        send('logs', logRecord(`log ${count}`)),
        send('traces', span(`span ${count}`, { traceId: trace })),
        send('metrics', point(`point ${count}`)),
      ]);
      await untilSeen('logs', rows(count));
      await untilSeen(`traces?limit=${10}`, (body) => body.data[0]?.span_count === count);
      await untilSeen(`traces/${trace}`, (body) => body.spans.length === count);
      await untilSeen('metrics/points', rows(count));
      await untilSeen(
        'services',
        ({ data: [row] }) => row?.log_count === count && row.metric_count === count,
      );
    }
    assert.equal((await get('logs')).meta.cache, 'L1');
  });

  it('keeps answers about closed ranges while fresh rows come, and drops them with late ones', async () => {
    const from = Date.now() - 6 * HOUR_MS;
    const closed = `logs?from=${from}&to=${from + HOUR_MS}`;
    assert.equal((await get(closed)).data.length, 0);
    await send('logs', logRecord('fresh'));
    await untilSeen('logs', rows(4));
    assert.deepEqual((await get(closed)).meta.cache, 'L1');
    await send('logs', logRecord('late', { timeUnixNano: nowNs(-5.5 * HOUR_MS) }));
    await untilSeen(closed, rows(1));
  });

  it('tells its figures, and is dropped by an admin, on record', async () => {
    await get('services');
    assert.equal((await get('services')).meta.cache, 'L1');
    const figures = await get('cache');
    assert.ok(figures.hit_rate > 0 && figures.prefixes.services.l1_hits > 0);
    const url = `${server.api}/api/v1/cache?pattern=services:*`;
    const headers = { authorization: `Bearer ${server.key}` };
    const { status, body } = await call(url, { method: 'DELETE', headers });
    assert.equal(status, 200);
    assert.match(JSON.parse(body.toString()).dropped[0], /^services:[0-9a-f-]{36}:\*$/);
    assert.equal((await get('services')).meta.cache, 'miss');
    const [event] = (await get('audit?action=cache.invalidate')).data;
    assert.deepEqual([event.result, event.details], ['ok', { pattern: 'services:*', how: 'pattern' }]);
    const metrics = (await call(`${server.api}/metrics`, { method: 'GET' })).body.toString();
    assert.match(metrics, /^telemetryflow_cache_answers_total\{prefix="services",source="L1"\} [1-9]/m);
  });
});
