import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import {
  at,
  id,
  type SqlRow,
  str,
  TENANT_A,
  TENANT_B,
  TelemetryStore,
} from '../../test/support/telemetry-store.js';
import type { Scope } from '../edge/scope.js';
import { listMetricNames } from '../series/metric-names.js';
import { listServices } from './services.js';

const T0 = 1_767_225_600_000_000_000n; // 2026-01-01T00:00:00Z
const RANGE = { fromNs: T0, toNs: T0 + 100n };
const PAGE = { page: 1, limit: 100 };

let store: TelemetryStore;

const timed = (service: string, ns: number): SqlRow => ({
  timestamp: at(T0 + BigInt(ns)),
  service_name: str(service),
});
const point = (service: string, ns: number, metric: string, type = 'gauge', unit = 's'): SqlRow => ({
  ...timed(service, ns),
  metric_name: str(metric),
  metric_type: str(type),
  unit: str(unit),
});
const span = (service: string, ns: number, status: string): SqlRow => ({
  ...timed(service, ns),
  trace_id: id('11'.repeat(16)),
  span_id: id('22'.repeat(8)),
  status_code: str(status),
});

async function fill(scope: Scope): Promise<void> {
  await store.insert('telemetry_metrics', scope, [
    point('shop', 1, 'cpu'),
    point('shop', 2, 'cpu'),
    point('shop', 3, 'http.requests', 'sum', '1'),
    point('pay', 5, 'http.requests', 'sum', '1'),
    point('pay', 6, 'http.latency', 'histogram', 'ms'),
    point('late', 100, 'cpu'),
    point('early', -1, 'cpu'),
  ]);
  await store.insert('telemetry_traces', scope, [
    span('shop', 10, 'OK'),
    span('shop', 99, 'ERROR'),
    span('shop', 4, 'UNSET'),
    span('shop', 100, 'ERROR'),
    span('web', 0, 'ERROR'),
  ]);
  await store.insert('telemetry_logs', scope, [timed('shop', 7), timed('logs-only', 8)]);
}

before(async () => {
  store = await TelemetryStore.open();
  await fill(TENANT_A);
  await fill({ ...TENANT_A, workspaceId: 'other' });
  await store.insert('telemetry_logs', TENANT_B, [timed('secret', 7)]);
  await store.insert('telemetry_metrics', TENANT_B, [point('secret', 7, 'http.secret')]);
});
after(() => store.close());

describe('Services', () => {
  it('are counted over metrics, spans and logs within [from, to)', async () => {
    const { data, page, limit, total_pages, next_cursor, meta } = await listServices(
      TENANT_A,
      store.clickhouse,
      RANGE,
      PAGE,
    );
    const none = {
      metric_count: 0,
      unique_metrics: 0,
      span_count: 0,
      log_count: 0,
      error_count: 0,
      error_rate: 0,
    };
    const seen = (ns: number) => ({
      last_seen: `2026-01-01T00:00:00.0000000${String(ns).padStart(2, '0')}Z`,
    });
    assert.deepEqual(data, [
      { service_name: 'logs-only', ...seen(8), ...none, log_count: 1 },
      { service_name: 'pay', ...seen(6), ...none, metric_count: 2, unique_metrics: 2 },
      {
        service_name: 'shop',
        ...seen(99),
        metric_count: 3,
        unique_metrics: 2,
        span_count: 3,
        log_count: 1,
        error_count: 1,
        error_rate: 1 / 3,
      },
      { service_name: 'web', ...seen(0), ...none, span_count: 1, error_count: 1, error_rate: 1 },
    ]);
    assert.deepEqual([page, limit, total_pages, next_cursor], [1, 100, 1, null]);
    assert.deepEqual([meta.source, meta.cache, typeof meta.elapsed_ms], ['raw', 'miss', 'number']);
    assert.ok(meta.rows_read > 0 && meta.bytes_read > 0);
  });

  it('come page by page', async () => {
    const names: string[] = [];
    let cursor: string | undefined;
    do {
      const page = await listServices(TENANT_A, store.clickhouse, RANGE, { page: 1, limit: 1, cursor });
      assert.equal(page.total_pages, 4);
      names.push(...page.data.map((service) => service.service_name));
      cursor = page.next_cursor ?? undefined;
    } while (cursor);
    assert.deepEqual(names, ['logs-only', 'pay', 'shop', 'web']);
    const third = await listServices(TENANT_A, store.clickhouse, RANGE, { page: 3, limit: 1 });
    assert.equal(third.data[0].service_name, 'shop');
  });

  it('of another tenant are not there', async () => {
    const { data } = await listServices(TENANT_B, store.clickhouse, RANGE, PAGE);
    assert.deepEqual(
      data.map((service) => service.service_name),
      ['secret'],
    );
  });
});

describe('Metric names', () => {
  const ask = async (question: { services?: string[]; prefix?: string }, request = PAGE, scope = TENANT_A) =>
    listMetricNames(scope, store.clickhouse, { services: [], prefix: '', ...question }, RANGE, request);

  it('come with service, type, unit and when they were last seen', async () => {
    const { data } = await ask({ prefix: 'http.' });
    assert.deepEqual(data, [
      {
        service_name: 'pay',
        metric_name: 'http.latency',
        metric_type: 'histogram',
        unit: 'ms',
        last_seen: '2026-01-01T00:00:00.000000006Z',
      },
      {
        service_name: 'pay',
        metric_name: 'http.requests',
        metric_type: 'sum',
        unit: '1',
        last_seen: '2026-01-01T00:00:00.000000005Z',
      },
      {
        service_name: 'shop',
        metric_name: 'http.requests',
        metric_type: 'sum',
        unit: '1',
        last_seen: '2026-01-01T00:00:00.000000003Z',
      },
    ]);
  });

  it('are narrowed by service and prefix, which are data', async () => {
    const names = async (question: Parameters<typeof ask>[0]) =>
      (await ask(question)).data.map((name) => name.metric_name);
    assert.deepEqual(await names({ services: ['shop'] }), ['cpu', 'http.requests']);
    assert.deepEqual(await names({ services: ['shop', 'pay'], prefix: 'http.l' }), ['http.latency']);
    for (const hostile of ['%', `' OR 1=1 --`, '{p0:String}', '_'])
      assert.deepEqual(await names({ prefix: hostile }), []);
  });

  it('come page by page, within their tenant', async () => {
    const names: string[] = [];
    let request: { page: number; limit: number; cursor?: string } = { page: 1, limit: 1 };
    for (;;) {
      const page = await ask({}, request);
      assert.equal(page.total_pages, 4);
      names.push(...page.data.map((name) => `${name.metric_name} ${name.service_name}`));
      if (page.next_cursor === null) break;
      request = { page: 1, limit: 1, cursor: page.next_cursor };
    }
    assert.deepEqual(names, ['cpu shop', 'http.latency pay', 'http.requests pay', 'http.requests shop']);
    assert.equal((await ask({}, PAGE, TENANT_B)).data[0].metric_name, 'http.secret');
  });
});
