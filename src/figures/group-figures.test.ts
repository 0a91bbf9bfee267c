import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import {
  at,
  attributes,
  id,
  type SqlRow,
  str,
  TENANT_A,
  TENANT_B,
  TelemetryStore,
} from '../../test/support/telemetry-store.js';
import { countLogs, type GroupValue, type LogCountQuestion } from './log-counts.js';
import { measureSpans, type SpanQuestion } from './span-figures.js';

const T0 = 1_767_225_600_000_000_000n; // 2026-01-01T00:00:00Z
const SECOND = 1_000_000_000n;
const RANGE = { fromNs: T0, toNs: T0 + 60n * SECOND };
const LOGS: LogCountQuestion = { terms: [], services: [], severities: [], attributes: [], groupBy: [] };
const SPANS: SpanQuestion = {
  figure: 'count',
  services: [],
  operations: [],
  kinds: [],
  statuses: [],
  attributes: [],
  groupBy: [],
};

let store: TelemetryStore;

const common = (second: number, service: string, route: string): SqlRow => ({
  timestamp: at(T0 + BigInt(second) * SECOND),
  service_name: str(service),
  trace_id: id('01'.repeat(16)),
  span_id: id('02'.repeat(8)),
  ...attributes({ 'http.route': route }),
  resource_attributes: `CAST(map('host.name', '${service}-1'), 'Map(String, String)')`,
  resource_attribute_types: str('s'),
});
const log = (second: number, service: string, severity: number, body: string, route = '/'): SqlRow => ({
  ...common(second, service, route),
  severity_number: String(severity),
  severity_text: str(''),
  body: str(body),
  body_type: str('s'),
});
const span = (second: number, service: string, ms: number, status: string, route = '/'): SqlRow => ({
  ...common(second, service, route),
  span_name: str(`GET ${route}`),
  span_kind: str('SERVER'),
  status_code: str(status),
  duration_nano: String(ms * 1e6),
});

const LOG_ROWS = [
  log(0, 'shop', 17, 'payment timeout'),
  log(1, 'shop', 17, 'payment timeout', '/pay'),
  log(2, 'shop', 9, 'order placed'),
  log(3, 'pay', 17, 'declined'),
  log(60, 'shop', 17, 'the next minute'),
];
const SPAN_ROWS = [
  span(0, 'shop', 10, 'OK'),
  span(1, 'shop', 20, 'UNSET'),
  span(2, 'shop', 30, 'ERROR', '/pay'),
  span(3, 'shop', 40, 'OK'),
  span(4, 'pay', 500, 'ERROR'),
  span(60, 'shop', 9999, 'ERROR'),
];

const counted = async (question: Partial<LogCountQuestion>, limit = 100) =>
  pairs(await countLogs(TENANT_A, store.clickhouse, { ...LOGS, ...question }, RANGE, limit));
const measured = async (question: Partial<SpanQuestion>) =>
  pairs(await measureSpans(TENANT_A, store.clickhouse, { ...SPANS, ...question }, RANGE, 100));
const pairs = (rows: GroupValue[]) => rows.map(({ labels, value }) => [labels.join('|'), value]);

before(async () => {
  store = await TelemetryStore.open();
  await store.insert('telemetry_logs', TENANT_A, LOG_ROWS);
  await store.insert('telemetry_logs', TENANT_B, [...LOG_ROWS, ...LOG_ROWS]);
  await store.insert('telemetry_traces', TENANT_A, SPAN_ROWS);
  await store.insert('telemetry_traces', TENANT_B, [...SPAN_ROWS, ...SPAN_ROWS]);
});
after(() => store.close());

describe('Log counts', () => {
  it('count the records of the tenant within the range', async () => {
    assert.deepEqual(await counted({}), [['', 4]]);
  });

  it('count what is asked for', async () => {
    assert.deepEqual(await counted({ minSeverity: 17 }), [['', 3]]);
    assert.deepEqual(await counted({ terms: [{ text: 'TIMEOUT', negated: false }] }), [['', 2]]);
    assert.deepEqual(await counted({ services: ['pay'] }), [['', 1]]);
    assert.deepEqual(await counted({ attributes: [{ key: 'http.route', values: ['/pay'] }] }), [['', 1]]);
  });

  it('have no row where there is nothing', async () => {
    assert.deepEqual(await counted({ services: ['nobody'] }), []);
  });

  it('are grouped by services, resources and attributes', async () => {
    assert.deepEqual(
      await counted({ minSeverity: 17, groupBy: ['service_name', 'resource.host.name', 'http.route'] }),
      [
        ['pay|pay-1|/', 1],
        ['shop|shop-1|/', 1],
        ['shop|shop-1|/pay', 1],
      ],
    );
    assert.equal((await counted({ groupBy: ['service_name'] }, 1)).length, 1);
  });
});

describe('Figures of spans', () => {
  it('count spans of the tenant within the range', async () => {
    assert.deepEqual(await measured({}), [['', 5]]);
    assert.deepEqual(await measured({ statuses: ['ERROR'], groupBy: ['service_name'] }), [
      ['pay', 1],
      ['shop', 1],
    ]);
  });

  it('tell the error rate', async () => {
    assert.deepEqual(await measured({ figure: 'error_rate', groupBy: ['service_name'] }), [
      ['pay', 1],
      ['shop', 0.25],
    ]);
  });

  it('tell durations in milliseconds', async () => {
    const shop = { services: ['shop'] };
    assert.deepEqual(await measured({ ...shop, figure: 'avg' }), [['', 25]]);
    assert.deepEqual(await measured({ ...shop, figure: 'max' }), [['', 40]]);
    assert.deepEqual(await measured({ ...shop, figure: 'p50' }), [['', 25]]);
    assert.deepEqual(await measured({ ...shop, figure: 'p95' }), [['', 38.5]]);
  });

  it('are those of what is asked for', async () => {
    assert.deepEqual(await measured({ operations: ['GET /pay'] }), [['', 1]]);
    assert.deepEqual(await measured({ kinds: ['CLIENT'] }), []);
    assert.deepEqual(await measured({ minDurationMs: 20, maxDurationMs: 30 }), [['', 2]]);
    assert.deepEqual(await measured({ attributes: [{ key: 'resource.host.name', values: ['pay-1'] }] }), [
      ['', 1],
    ]);
  });
});
