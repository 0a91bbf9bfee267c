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
import { type LogQuestion, searchLogs, severityNumber } from './logs.js';

const T0 = 1_767_225_600_000_000_000n; // 2026-01-01T00:00:00Z
const SECOND = 1_000_000_000n;
const RANGE = { fromNs: T0, toNs: T0 + 3600n * SECOND };
const ALL: LogQuestion = { terms: [], services: [], severities: [], attributes: [], order: 'desc' };
const TRACE = '0af7651916cd43dd8448eb211c80319c';
const PAGE = { page: 1, limit: 100 };

let store: TelemetryStore;

const log = (ns: bigint, body: string, extra: SqlRow = {}): SqlRow => ({
  timestamp: at(ns),
  service_name: str('shop'),
  severity_number: '9',
  severity_text: str('INFO'),
  trace_id: id('00'.repeat(16)),
  span_id: id('00'.repeat(8)),
  body: str(body),
  body_type: str('s'),
  ...attributes({ 'http.route': '/' }),
  resource_attributes: `CAST(map('host.name', 'h1'), 'Map(String, String)')`,
  resource_attribute_types: str('s'),
  ...extra,
});

const ROWS = [
  log(T0, 'Order 17 placed', { trace_id: id(TRACE), span_id: id('b7ad6b7169203331') }),
  log(T0 + SECOND, 'Payment TIMEOUT after 30 s', { severity_number: '17', severity_text: str('ERROR') }),
  log(T0 + 2n * SECOND, 'payment ok, order 18', {
    service_name: str('pay'),
    severity_number: '13',
    severity_text: str('Warning'),
    ...attributes({ 'http.route': '/pay', user: '' }),
  }),
  log(T0 + 3n * SECOND, 'Größe der Bestellung: ÄRGER', { severity_number: '0', severity_text: str('fatal') }),
  log(T0 + 3600n * SECOND, 'the first of the next hour'),
];

async function bodies(question: Partial<LogQuestion>, range = RANGE): Promise<unknown[]> {
  const { data } = await searchLogs(TENANT_A, store.clickhouse, { ...ALL, ...question }, range, PAGE);
  return data.map((record) => record.body);
}

const term = (text: string, negated = false) => ({ text, negated });

describe('Log search', () => {
  before(async () => {
    store = await TelemetryStore.open();
    await store.insert('telemetry_logs', TENANT_A, ROWS);
    await store.insert(
      'telemetry_logs',
      TENANT_B,
      ROWS.map((row) => ({ ...row, body: str('of the other tenant') })),
    );
  });
  after(() => store.close());

  it('gives the newest first, the range being half-open', async () => {
    assert.deepEqual(await bodies({}), [
      'Größe der Bestellung: ÄRGER',
      'payment ok, order 18',
      'Payment TIMEOUT after 30 s',
      'Order 17 placed',
    ]);
    assert.deepEqual(await bodies({ order: 'asc' }, { fromNs: T0 + SECOND, toNs: T0 + 3n * SECOND }), [
      'Payment TIMEOUT after 30 s',
      'payment ok, order 18',
    ]);
    assert.deepEqual(await bodies({}, { fromNs: T0 + 3600n * SECOND, toNs: T0 + 3601n * SECOND }), [
      'the first of the next hour',
    ]);
    const century = { fromNs: T0 + 3600n * SECOND, toNs: 9_214_646_400_000_000_000n };
    assert.deepEqual(await bodies({}, century), ['the first of the next hour'], 'until 2262');
    assert.deepEqual(
      await bodies({ order: 'asc' }, { fromNs: 0n, toNs: T0 + 1n }),
      ['Order 17 placed'],
      'from 1970',
    );
  });

  it('finds all the words in any case, phrases, and not what is negated', async () => {
    assert.deepEqual(await bodies({ terms: [term('PAYMENT')] }), [
      'payment ok, order 18',
      'Payment TIMEOUT after 30 s',
    ]);
    assert.deepEqual(await bodies({ terms: [term('payment'), term('order 18')] }), ['payment ok, order 18']);
    assert.deepEqual(await bodies({ terms: [term('payment'), term('timeout', true)] }), [
      'payment ok, order 18',
    ]);
    assert.deepEqual(await bodies({ terms: [term('ärger')] }), ['Größe der Bestellung: ÄRGER']);
    assert.deepEqual(await bodies({ terms: [term('100%')] }), []);
    assert.deepEqual(await bodies({ terms: [term('aymen')] }), []);
    const whole = await bodies({ terms: [term('payment')] });
    assert.ok(whole.length > 0);
    for (const part of ['payme*', '*ayment', '*AYMEN*']) {
      assert.deepEqual(await bodies({ terms: [term(part)] }), whole, part);
    }
    assert.deepEqual(await bodies({ terms: [term('payment'), term('*aymen*', true)] }), []);
  });

  it('filters by service, severity name, least severity and ids', async () => {
    assert.deepEqual(await bodies({ services: ['pay', 'none'] }), ['payment ok, order 18']);
    assert.deepEqual(await bodies({ severities: ['warn'] }), ['payment ok, order 18']);
    assert.deepEqual(await bodies({ severities: ['WARNING', 'error'] }), [
      'payment ok, order 18',
      'Payment TIMEOUT after 30 s',
    ]);
    assert.deepEqual(await bodies({ minSeverity: 14 }), [
      'Größe der Bestellung: ÄRGER',
      'Payment TIMEOUT after 30 s',
    ]);
    assert.deepEqual(await bodies({ traceId: TRACE }), ['Order 17 placed']);
    assert.deepEqual(await bodies({ spanId: 'b7ad6b7169203331' }), ['Order 17 placed']);
  });

  it('filters by attributes of the record and of its resource, one value of several being enough', async () => {
    const by = (key: string, ...values: string[]) => bodies({ attributes: [{ key, values }] });
    assert.deepEqual(await by('http.route', '/pay', '/x'), ['payment ok, order 18']);
    assert.equal((await by('resource.host.name', 'h1')).length, 4);
    assert.deepEqual(await by('resource.host.name', 'h2'), []);
    assert.deepEqual(await by('user', ''), ['payment ok, order 18'], 'empty means present and empty');
  });

  it('shows nothing of another tenant, organization or workspace', async () => {
    const { data } = await searchLogs(TENANT_B, store.clickhouse, ALL, RANGE, PAGE);
    assert.deepEqual(
      data.map((record) => record.body),
      Array(4).fill('of the other tenant'),
    );
    for (const scope of [
      { ...TENANT_A, tenantId: 'c' },
      { ...TENANT_A, workspaceId: 'other' },
      { ...TENANT_A, organizationId: 'other' },
    ]) {
      assert.deepEqual((await searchLogs(scope, store.clickhouse, ALL, RANGE, PAGE)).data, []);
    }
  });

  it('takes every value as data, whatever SQL it holds', async () => {
    for (const hostile of [
      `' OR 1=1 --`,
      `\\' OR 1=1 --`,
      `{p0:String}`,
      `%`,
      '`',
      '"; DROP TABLE telemetry_logs',
      '\0',
      '\\',
    ]) {
      assert.deepEqual(await bodies({ terms: [term(hostile)] }), []);
      assert.deepEqual(await bodies({ services: [hostile] }), []);
      assert.deepEqual(await bodies({ severities: [hostile] }), []);
      assert.deepEqual(await bodies({ attributes: [{ key: hostile, values: [hostile] }] }), []);
      assert.deepEqual(
        await bodies({ attributes: [{ key: `resource.${hostile}`, values: ['x', hostile] }] }),
        [],
      );
      assert.deepEqual(
        (await searchLogs({ ...TENANT_A, tenantId: hostile }, store.clickhouse, ALL, RANGE, PAGE)).data,
        [],
      );
    }
    await store.insert('telemetry_logs', TENANT_A, [
      log(T0 - SECOND, `it's {p0:String} \\ %`, attributes([[`a'b\\`, `c'd\\`]])),
    ]);
    const before = { fromNs: T0 - SECOND, toNs: T0 };
    assert.deepEqual(await bodies({ terms: [term(`'s {P0:string} \\ %`)] }, before), [
      `it's {p0:String} \\ %`,
    ]);
    assert.equal((await bodies({ attributes: [{ key: `a'b\\`, values: [`c'd\\`] }] }, before)).length, 1);
  });
});

describe('A log record', () => {
  const RECORD = log(T0 + 123_456_789n, '{"a":[9007199254740993,"x"]}', {
    trace_id: id(TRACE),
    body_type: str('{[is]}'),
    observed_timestamp: `reinterpret(toUInt64('18446744073709551615'), 'DateTime64(9)')`,
    timestamp_source: str('time'),
    flags: '4294967295',
    event_name: str('order.placed'),
    dropped_attributes_count: '3',
    ...attributes(
      [
        ['2', 'two'],
        ['1', '9223372036854775807'],
        ['ok', 'true'],
        ['ratio', 'NaN'],
        ['none', ''],
        ['raw', 'AAE='],
      ],
      'sibdny',
    ),
    resource_schema_url: str('https://r'),
    resource_dropped_attributes_count: '1',
    scope_name: str('lib'),
    scope_version: str('1.2'),
    scope_schema_url: str('https://s'),
  });

  before(async () => {
    store = await TelemetryStore.open();
    await store.insert('telemetry_logs', TENANT_A, [RECORD]);
    const untimed = { timestamp_source: str('received'), observed_timestamp: at(0n) };
    await store.insert('telemetry_logs', TENANT_A, [log(T0, 'no time at all', untimed)]);
  });
  after(() => store.close());

  it('comes back with every field, exactly', async () => {
    const { data } = await searchLogs(TENANT_A, store.clickhouse, ALL, RANGE, PAGE);
    assert.deepEqual(JSON.parse(JSON.stringify(data[0])), {
      timestamp: '2026-01-01T00:00:00.123456789Z',
      timestamp_source: 'time',
      time_unix_nano: '1767225600123456789',
      observed_timestamp: '2554-07-21T23:34:33.709551615Z',
      observed_time_unix_nano: '18446744073709551615',
      trace_id: TRACE,
      span_id: '',
      flags: 4294967295,
      severity_number: 9,
      severity_text: 'INFO',
      service_name: 'shop',
      event_name: 'order.placed',
      body: { a: ['9007199254740993', 'x'] },
      body_type: '{[is]}',
      attributes: { 1: '9223372036854775807', 2: 'two', ok: true, ratio: 'NaN', none: null, raw: 'AAE=' },
      attribute_types: { 1: 'i', 2: 's', ok: 'b', ratio: 'd', none: 'n', raw: 'y' },
      dropped_attributes_count: 3,
      resource: {
        attributes: { 'host.name': 'h1' },
        attribute_types: { 'host.name': 's' },
        dropped_attributes_count: 1,
        schema_url: 'https://r',
      },
      scope: {
        name: 'lib',
        version: '1.2',
        attributes: {},
        attribute_types: {},
        dropped_attributes_count: 0,
        schema_url: 'https://s',
      },
    });
  });

  it('says when it had no time of its own', async () => {
    const { data } = await searchLogs(TENANT_A, store.clickhouse, ALL, RANGE, PAGE);
    const { timestamp, timestamp_source, time_unix_nano, observed_timestamp, observed_time_unix_nano } =
      data[1];
    assert.deepEqual(
      [timestamp, timestamp_source, time_unix_nano, observed_timestamp, observed_time_unix_nano],
      ['2026-01-01T00:00:00.000000000Z', 'received', '0', null, '0'],
    );
  });
});

describe('Pages of logs', () => {
  const COUNT = 137;

  before(async () => {
    store = await TelemetryStore.open();
    // 137 rows on 5 nanoseconds, 40 of them exact copies of each other, over a five-minute boundary.
    await store.insertSelect(
      'telemetry_logs',
      'organization_id, workspace_id, tenant_id, timestamp, service_name, body',
      `SELECT 'org', 'ws', 'a', fromUnixTimestamp64Nano(toInt64(${T0 + 299_999_999_998n} + number % 5)), 'shop',
        if(number < 40, 'copy', toString(number)) FROM numbers(${COUNT})`,
    );
  });
  after(() => store.close());

  async function walk(order: 'asc' | 'desc', limit: number) {
    const seen: { time: string; body: unknown }[] = [];
    let cursor: string | undefined;
    let pages = 0;
    do {
      const page = await searchLogs(TENANT_A, store.clickhouse, { ...ALL, order }, RANGE, {
        page: 1,
        limit,
        cursor,
      });
      assert.ok(page.data.length <= limit);
      assert.equal(page.page, ++pages);
      seen.push(...page.data.map(({ timestamp, body }) => ({ time: timestamp, body })));
      cursor = page.next_cursor ?? undefined;
      assert.equal(page.total_pages, Math.ceil(COUNT / limit));
    } while (cursor);
    return seen;
  }

  for (const order of ['asc', 'desc'] as const) {
    for (const limit of [5, 50, 136, 137, 1000]) {
      it(`by cursor cover every row once and in order: ${limit} at a time, ${order}`, async () => {
        const seen = await walk(order, limit);
        assert.equal(seen.length, COUNT);
        const unique = new Set(seen.map(({ body }) => body));
        assert.equal(unique.size, COUNT - 40 + 1);
        assert.equal(seen.filter(({ body }) => body === 'copy').length, 40);
        const times = seen.map(({ time }) => time);
        assert.deepEqual(times, order === 'asc' ? times.toSorted() : times.toSorted().reverse());
        if (limit !== 1000)
          assert.deepEqual(seen, await walk(order, 1000), 'the order does not depend on the pages');
      });
    }
  }

  it('by number are the same pages', async () => {
    const whole = await walk('desc', 1000);
    const second = await searchLogs(TENANT_A, store.clickhouse, ALL, RANGE, { page: 3, limit: 50 });
    assert.deepEqual(
      second.data.map(({ timestamp, body }) => ({ time: timestamp, body })),
      whole.slice(100, 150),
    );
    assert.equal(second.next_cursor, null);
    assert.deepEqual([second.page, second.limit, second.total_pages], [3, 50, 3]);
  });

  it('go on from a numbered page by its cursor, and keep the time range of the first page', async () => {
    const first = await searchLogs(TENANT_A, store.clickhouse, ALL, RANGE, { page: 2, limit: 50 });
    const later = { fromNs: RANGE.toNs, toNs: RANGE.toNs + SECOND };
    const request = { page: 1, limit: 50, cursor: first.next_cursor! };
    const rest = await searchLogs(TENANT_A, store.clickhouse, ALL, later, request);
    assert.deepEqual([rest.page, rest.data.length], [3, 37]);
  });

  it('refuse a cursor of another question, another tenant, or none of ours', async () => {
    const { next_cursor } = await searchLogs(TENANT_A, store.clickhouse, ALL, RANGE, { page: 1, limit: 5 });
    const cursor = next_cursor!;
    const refused = (scope: typeof TENANT_A, question: LogQuestion, given: string) =>
      assert.rejects(
        async () =>
          searchLogs(scope, store.clickhouse, question, RANGE, { page: 1, limit: 5, cursor: given }),
        (error) => error instanceof AppError && error.code === 'INVALID_ARGUMENT',
      );
    await refused(TENANT_B, ALL, cursor);
    await refused(TENANT_A, { ...ALL, services: ['x'] }, cursor);
    await refused(TENANT_A, { ...ALL, order: 'asc' }, cursor);
    for (const bad of ['', 'x', cursor.slice(5), Buffer.from('[]').toString('base64url')])
      await refused(TENANT_A, ALL, bad);
    const parts = JSON.parse(Buffer.from(cursor, 'base64url').toString()) as unknown[];
    const forged = (key: unknown) =>
      Buffer.from(JSON.stringify([parts[0], key, ...parts.slice(2)])).toString('base64url');
    for (const key of [
      ['1'],
      ['1', "1'"],
      ['9223372036854775808', '1'],
      ['1', '-1'],
      ['1', '18446744073709551616'],
      [1, 2],
    ]) {
      await refused(TENANT_A, ALL, forged(key));
    }
  });
});

describe('A severity', () => {
  it('is known by number, name or what loggers call it', () => {
    assert.deepEqual(
      ['1', '24', 'trace', 'Info', 'WARNING', 'critical'].map(severityNumber),
      [1, 24, 1, 9, 13, 21],
    );
    assert.deepEqual(['0', '25', 'x', ''].map(severityNumber), [undefined, undefined, undefined, undefined]);
  });
});
