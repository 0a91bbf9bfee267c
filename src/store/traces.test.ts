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
import { AppError } from '../errors.js';
import { readTrace, SLICE_SPANS, TraceReading } from './trace.js';
import { searchTraces, type TraceQuestion } from './traces.js';

const T0 = 1_767_225_600_000_000_000n; // 2026-01-01T00:00:00Z
const MS = 1_000_000n;
const HOUR = 3_600_000n * MS;
const RANGE = { fromNs: T0, toNs: T0 + HOUR };
const ANY: TraceQuestion = {
  services: [],
  operations: [],
  kinds: [],
  statuses: [],
  attributes: [],
  order: 'recent',
};
const traceId = (n: number) => n.toString(16).padStart(32, '0');

let store: TelemetryStore;

interface SpanOf {
  trace: number;
  span: number;
  parent?: number;
  startMs: number;
  ms: number;
  service?: string;
  name?: string;
  kind?: string;
  status?: string;
  attributes?: Record<string, string>;
}

const span = ({ trace, span, parent = 0, startMs, ms, ...rest }: SpanOf): SqlRow => ({
  timestamp: at(T0 + BigInt(startMs) * MS),
  trace_id: id(traceId(trace)),
  span_id: id(span.toString(16).padStart(16, '0')),
  parent_span_id: id(parent.toString(16).padStart(16, '0')),
  service_name: str(rest.service ?? 'web'),
  span_name: str(rest.name ?? 'GET /'),
  span_kind: str(rest.kind ?? 'INTERNAL'),
  duration_nano: String(BigInt(ms) * MS),
  status_code: str(rest.status ?? 'UNSET'),
  ...attributes(rest.attributes ?? {}),
  resource_attributes: `CAST(map('host.name', 'h1'), 'Map(String, String)')`,
  resource_attribute_types: str('s'),
});

const SPANS = [
  span({ trace: 1, span: 1, startMs: 1000, ms: 100, name: 'GET /cart', kind: 'SERVER' }),
  span({
    trace: 1,
    span: 2,
    parent: 1,
    startMs: 1010,
    ms: 20,
    service: 'cart',
    name: 'load',
    kind: 'CLIENT',
  }),
  span({
    trace: 1,
    span: 3,
    parent: 2,
    startMs: 1090,
    ms: 50,
    service: 'db',
    status: 'ERROR',
    attributes: { table: 'carts' },
  }),
  span({ trace: 2, span: 1, startMs: 2000, ms: 5, name: 'GET /health', kind: 'SERVER', status: 'OK' }),
  // Its root is missing.
  span({ trace: 3, span: 2, parent: 1, startMs: 1500, ms: 300, service: 'pay', name: 'charge' }),
  span({ trace: 3, span: 3, parent: 2, startMs: 3000, ms: 10, service: 'bank', name: 'book' }),
  span({ trace: 4, span: 1, startMs: 3_600_000, ms: 10 }),
];

async function found(question: Partial<TraceQuestion>, range = RANGE): Promise<number[]> {
  const { data } = await searchTraces(TENANT_A, store.clickhouse, { ...ANY, ...question }, range, {
    page: 1,
    limit: 100,
  });
  return data.map((trace) => Number.parseInt(trace.trace_id, 16));
}

describe('Trace search', () => {
  before(async () => {
    store = await TelemetryStore.open();
    await store.insert('telemetry_traces', TENANT_A, SPANS);
    // The same ids elsewhere: nothing of them may be counted.
    const elsewhere = SPANS.map((row) => ({ ...row, service_name: str('secret') }));
    await store.insert('telemetry_traces', TENANT_B, elsewhere);
  });
  after(() => store.close());

  it('sums up each trace', async () => {
    const { data } = await searchTraces(TENANT_A, store.clickhouse, ANY, RANGE, { page: 1, limit: 100 });
    assert.deepEqual(data[0], {
      trace_id: traceId(3),
      timestamp: '2026-01-01T00:00:01.500000000Z',
      start_time_unix_nano: String(T0 + 1500n * MS),
      duration_ms: 1510,
      root_service: 'pay',
      root_operation: 'charge',
      has_root: false,
      span_count: 2,
      error_count: 0,
      services: ['bank', 'pay'],
    });
    assert.deepEqual(data[2], {
      trace_id: traceId(1),
      timestamp: '2026-01-01T00:00:01.000000000Z',
      start_time_unix_nano: String(T0 + 1000n * MS),
      duration_ms: 140,
      root_service: 'web',
      root_operation: 'GET /cart',
      has_root: true,
      span_count: 3,
      error_count: 1,
      services: ['cart', 'db', 'web'],
    });
  });

  it('orders by the newest or the longest span that matches, within [from, to)', async () => {
    assert.deepEqual(await found({}), [3, 2, 1]);
    assert.deepEqual(await found({ order: 'slowest' }), [3, 1, 2]);
    assert.deepEqual(await found({}, { fromNs: T0 + HOUR, toNs: T0 + 2n * HOUR }), [4]);
    assert.deepEqual(await found({}, { fromNs: T0 + 2000n * MS, toNs: T0 + 3000n * MS }), [2]);
  });

  it('finds a trace by any of its spans, but all conditions must meet in one span', async () => {
    assert.deepEqual(await found({ services: ['db'] }), [1]);
    assert.deepEqual(await found({ operations: ['load'] }), [1]);
    assert.deepEqual(await found({ kinds: ['SERVER'] }), [2, 1]);
    assert.deepEqual(await found({ kinds: ['CLIENT', 'SERVER'], statuses: ['OK'] }), [2]);
    assert.deepEqual(await found({ statuses: ['ERROR'] }), [1]);
    assert.deepEqual(await found({ statuses: ['ERROR'], services: ['web'] }), []);
    assert.deepEqual(await found({ minDurationMs: 100 }), [3, 1]);
    assert.deepEqual(await found({ minDurationMs: 20, maxDurationMs: 50 }), [1]);
    assert.deepEqual(await found({ maxDurationMs: 5 }), [2]);
    assert.deepEqual(await found({ attributes: [{ key: 'table', values: ['carts'] }] }), [1]);
    assert.deepEqual(await found({ attributes: [{ key: 'resource.host.name', values: ['h1'] }] }), [3, 2, 1]);
  });

  it('sums up traces that lie weeks apart, with the spans around each', async () => {
    const DAY_MS = 86_400_000;
    const far = [60, 61, 62].flatMap((trace, nth) => {
      const startMs = (100 + 15 * nth) * DAY_MS;
      const one = { trace, ms: 10, name: 'far apart' };
      const parent = span({ ...one, span: trace * 10, startMs });
      // In another five minutes, another service.
      const child = {
        span: trace * 10 + 1,
        parent: trace * 10,
        startMs: startMs + 1_800_000,
        service: 'late',
      };
      return [parent, span({ ...one, ...child, name: 'child' })];
    });
    await store.insert('telemetry_traces', TENANT_A, far);
    await store.insert('telemetry_traces', TENANT_B, far);
    const range = { fromNs: T0, toNs: T0 + 200n * 24n * HOUR };
    const question = { ...ANY, operations: ['far apart'] };
    const { data } = await searchTraces(TENANT_A, store.clickhouse, question, range, { page: 1, limit: 10 });
    assert.deepEqual(
      data.map(({ trace_id, span_count, services }) => [trace_id, span_count, services]),
      [62, 61, 60].map((trace) => [traceId(trace), 2, ['late', 'web']]),
    );
  });

  it('takes every value as data, whatever SQL it holds', async () => {
    for (const hostile of [`' OR 1=1 --`, `\\' OR 1=1 --`, '{p0:String}', '`', '\0']) {
      assert.deepEqual(await found({ services: [hostile] }), []);
      assert.deepEqual(await found({ operations: [hostile] }), []);
      assert.deepEqual(await found({ kinds: [hostile] }), []);
      assert.deepEqual(await found({ statuses: [hostile] }), []);
      assert.deepEqual(await found({ attributes: [{ key: hostile, values: [hostile] }] }), []);
    }
  });

  it('shows another tenant only its own', async () => {
    const { data } = await searchTraces(TENANT_B, store.clickhouse, ANY, RANGE, { page: 1, limit: 100 });
    assert.deepEqual([...new Set(data.flatMap((trace) => trace.services))], ['secret']);
    const nobody = { ...TENANT_A, organizationId: 'x' };
    assert.deepEqual(
      (await searchTraces(nobody, store.clickhouse, ANY, RANGE, { page: 1, limit: 9 })).data,
      [],
    );
  });
});

describe('Pages of traces', () => {
  const COUNT = 53;

  before(async () => {
    store = await TelemetryStore.open();
    // Each trace has 4 spans; their starts and durations collide across traces and are spread over the range.
    await store.insertSelect(
      'telemetry_traces',
      'organization_id, workspace_id, tenant_id, timestamp, trace_id, span_id, duration_nano, service_name',
      `SELECT 'org', 'ws', 'a', fromUnixTimestamp64Nano(toInt64(${T0} + ((number * 7) % 11) * 60000000000)),
        toFixedString(unhex(leftPad(hex(number % ${COUNT} + 1), 32, '0')), 16), toFixedString(unhex(leftPad(hex(number + 1), 16, '0')), 8),
        number % 5, 'web' FROM numbers(${COUNT * 4})`,
    );
  });
  after(() => store.close());

  for (const order of ['recent', 'slowest'] as const) {
    it(`by cursor cover every trace once: ${order}`, async () => {
      const walk = async (limit: number) => {
        const seen: string[] = [];
        let cursor: string | undefined;
        do {
          const request = { page: 1, limit, cursor };
          const page = await searchTraces(TENANT_A, store.clickhouse, { ...ANY, order }, RANGE, request);
          if (page.next_cursor) assert.equal(page.total_pages, Math.ceil(COUNT / limit));
          seen.push(...page.data.map((trace) => trace.trace_id));
          cursor = page.next_cursor ?? undefined;
        } while (cursor);
        return seen;
      };
      const whole = await walk(1000);
      assert.equal(new Set(whole).size, COUNT);
      for (const limit of [9, 26, COUNT]) assert.deepEqual(await walk(limit), whole);
      const request = { page: 3, limit: 10 };
      const third = await searchTraces(TENANT_A, store.clickhouse, { ...ANY, order }, RANGE, request);
      assert.deepEqual(
        third.data.map((trace) => trace.trace_id),
        whole.slice(20, 30),
      );
    });
  }
});

describe('A trace', () => {
  const EXTREME = {
    ...span({ trace: 9, span: 7, startMs: 0, ms: 0 }),
    timestamp: at(T0 + 1n),
    duration_nano: '-9223372036854775808',
    trace_state: str('a=1,b=2'),
    flags: '257',
    status_message: str('broken'),
    status_code: str('ERROR'),
    span_kind: str('CONSUMER'),
    dropped_attributes_count: '1',
    'events.timestamp': `[reinterpret(toUInt64('18446744073709551615'), 'DateTime64(9)')]`,
    'events.name': `['exception']`,
    'events.attributes': `[CAST(map('exception.type', 'Error', 'n', '[1,2.5]'), 'Map(String, String)')]`,
    'events.attribute_types': `['s[id]']`,
    'events.dropped_attributes_count': '[2]',
    dropped_events_count: '3',
    'links.trace_id': `[${id(traceId(255))}]`,
    'links.span_id': `[${id('00000000000000ff')}]`,
    'links.trace_state': `['x=y']`,
    'links.flags': '[1]',
    'links.attributes': `[CAST(map('k', 'true'), 'Map(String, String)')]`,
    'links.attribute_types': `['b']`,
    'links.dropped_attributes_count': '[4]',
    dropped_links_count: '5',
    ...attributes([['a', '1.5']], 'd'),
    scope_name: str('lib'),
    scope_version: str('2'),
    scope_attributes: `CAST(map('s', 'x'), 'Map(String, String)')`,
    scope_attribute_types: str('s'),
  };

  before(async () => {
    store = await TelemetryStore.open();
    await store.insert('telemetry_traces', TENANT_A, SPANS);
    await store.insert('telemetry_traces', TENANT_A, [EXTREME]);
    await store.insert(
      'telemetry_traces',
      TENANT_B,
      SPANS.map((row) => ({ ...row, service_name: str('secret') })),
    );
  });
  after(() => store.close());

  it('comes with all its spans, in order', async () => {
    const trace = await readTrace(TENANT_A, store.clickhouse, traceId(1), RANGE);
    assert.deepEqual(
      trace.spans.map(({ span_id, parent_span_id }) => [span_id, parent_span_id]),
      [
        ['0000000000000001', ''],
        ['0000000000000002', '0000000000000001'],
        ['0000000000000003', '0000000000000002'],
      ],
    );
    const { spans, meta, ...outline } = trace;
    assert.deepEqual(outline, {
      trace_id: traceId(1),
      timestamp: '2026-01-01T00:00:01.000000000Z',
      start_time_unix_nano: String(T0 + 1000n * MS),
      duration_ms: 140,
      span_count: 3,
      error_count: 1,
      services: ['cart', 'db', 'web'],
    });
    assert.equal(meta.partial, undefined);
  });

  it('has every field of a span, exactly', async () => {
    const { spans } = await readTrace(TENANT_A, store.clickhouse, traceId(9), RANGE);
    assert.deepEqual(JSON.parse(JSON.stringify(spans)), [
      {
        timestamp: '2026-01-01T00:00:00.000000001Z',
        start_time_unix_nano: String(T0 + 1n),
        end_time_unix_nano: String(T0 + 1n + 2n ** 63n),
        duration_nano: '-9223372036854775808',
        duration_ms: -9223372036854.775,
        trace_id: traceId(9),
        span_id: '0000000000000007',
        parent_span_id: '',
        trace_state: 'a=1,b=2',
        flags: 257,
        service_name: 'web',
        span_name: 'GET /',
        span_kind: 'CONSUMER',
        status_code: 'ERROR',
        status_message: 'broken',
        attributes: { a: 1.5 },
        attribute_types: { a: 'd' },
        dropped_attributes_count: 1,
        events: [
          {
            timestamp: '2554-07-21T23:34:33.709551615Z',
            time_unix_nano: '18446744073709551615',
            name: 'exception',
            attributes: { 'exception.type': 'Error', n: [1, 2.5] },
            attribute_types: { 'exception.type': 's', n: '[id]' },
            dropped_attributes_count: 2,
          },
        ],
        dropped_events_count: 3,
        links: [
          {
            trace_id: traceId(255),
            span_id: '00000000000000ff',
            trace_state: 'x=y',
            flags: 1,
            attributes: { k: true },
            attribute_types: { k: 'b' },
            dropped_attributes_count: 4,
          },
        ],
        dropped_links_count: 5,
        resource: {
          attributes: { 'host.name': 'h1' },
          attribute_types: { 'host.name': 's' },
          dropped_attributes_count: 0,
          schema_url: '',
        },
        scope: {
          name: 'lib',
          version: '2',
          attributes: { s: 'x' },
          attribute_types: { s: 's' },
          dropped_attributes_count: 0,
          schema_url: '',
        },
      },
    ]);
  });

  it('of another tenant, or one that is not there, is not found', async () => {
    const notFound = (error: unknown) => error instanceof AppError && error.code === 'NOT_FOUND';
    await assert.rejects(() => readTrace(TENANT_A, store.clickhouse, traceId(77), RANGE), notFound);
    await assert.rejects(() => readTrace(TENANT_B, store.clickhouse, traceId(9), RANGE), notFound);
    const { services } = await readTrace(TENANT_B, store.clickhouse, traceId(1), RANGE);
    assert.deepEqual(services, ['secret']);
  });

  it('that is long comes slice by slice, every span once, with the figures of all of them', async () => {
    const COUNT = 2 * SLICE_SPANS + 10;
    // Seven spans to a nanosecond: slices end between spans of the same time.
    await store.insertSelect(
      'telemetry_traces',
      'organization_id, workspace_id, tenant_id, timestamp, trace_id, span_id, service_name, status_code, duration_nano',
      `SELECT 'org', 'ws', 'a', fromUnixTimestamp64Nano(toInt64(${T0} + intDiv(number, 7))), unhex('${traceId(5)}'),
        unhex(leftPad(hex(number + 1), 16, '0')), 'web', if(number % 2, 'ERROR', 'OK'), 1000 FROM numbers(${COUNT})`,
    );
    const first = await readTrace(TENANT_A, store.clickhouse, traceId(5), RANGE);
    assert.deepEqual(
      [first.spans.length, first.span_count, first.meta.partial],
      [SLICE_SPANS, SLICE_SPANS, true],
    );
    const reading = new TraceReading(TENANT_A, store.clickhouse, traceId(5), RANGE);
    reading.take(first.spans);
    const ids = first.spans.map(({ span_id }) => span_id);
    while (reading.hasMore) ids.push(...(await reading.next()).map(({ span_id }) => span_id));
    assert.deepEqual(
      ids,
      Array.from({ length: COUNT }, (_, n) => (n + 1).toString(16).padStart(16, '0')),
    );
    const { span_count, error_count, services, duration_ms } = reading.figures();
    assert.deepEqual([span_count, error_count, services], [COUNT, COUNT / 2, ['web']]);
    assert.equal(duration_ms, (Math.floor((COUNT - 1) / 7) + 1000) / 1e6);
    assert.equal(reading.isFull, false);
  });
});
