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
import { listMetricPoints, type MetricPoint, type PointQuestion } from './metric-points.js';

const T0 = 1_767_225_600_000_000_000n; // 2026-01-01T00:00:00Z
const RANGE = { fromNs: T0, toNs: T0 + 1_000_000_000n };
const TRACE = '0af7651916cd43dd8448eb211c80319c';

let store: TelemetryStore;

const point = (metric: string, type: string, columns: SqlRow, ns = T0): SqlRow => ({
  timestamp: at(ns),
  start_timestamp: `reinterpret(toUInt64('18446744073709551615'), 'DateTime64(9)')`,
  service_name: str('shop'),
  metric_name: str(metric),
  metric_type: str(type),
  ...attributes({ host: 'h1' }),
  ...columns,
});

async function list(question: Partial<PointQuestion>, scope = TENANT_A): Promise<MetricPoint[]> {
  const asked: PointQuestion = { services: [], attributes: [], order: 'asc', ...question };
  const { data } = await listMetricPoints(scope, store.clickhouse, asked, RANGE, { page: 1, limit: 100 });
  return JSON.parse(JSON.stringify(data)) as MetricPoint[];
}

/** The one point of a metric, without what all points have. */
async function data(metric: string): Promise<Partial<MetricPoint>> {
  const [found, ...more] = await list({ metric });
  assert.equal(more.length, 0);
  const { timestamp, time_unix_nano, start_time_unix_nano, service_name, metric_name, series_id, ...rest } =
    found;
  const {
    unit,
    description,
    metadata,
    metadata_types,
    flags,
    resource,
    scope,
    attributes,
    attribute_types,
    ...own
  } = rest;
  return own;
}

const EXEMPLARS: SqlRow = {
  'exemplars.timestamp': `[reinterpret(toUInt64('18446744073709551614'), 'DateTime64(9)'), ${at(T0)}]`,
  'exemplars.value': '[1.5, 0]',
  'exemplars.value_int': `[0, 9223372036854775807]`,
  'exemplars.value_type': `['double', 'int']`,
  'exemplars.trace_id': `[${id(TRACE)}, toFixedString('', 16)]`,
  'exemplars.span_id': `[${id('b7ad6b7169203331')}, toFixedString('', 8)]`,
  'exemplars.attributes': `[CAST(map('user', '7'), 'Map(String, String)'), CAST(map(), 'Map(String, String)')]`,
  'exemplars.attribute_types': `['i', '']`,
};

describe('A data point', () => {
  before(async () => {
    store = await TelemetryStore.open();
    await store.insert('telemetry_metrics', TENANT_A, [
      point('gauge', 'gauge', {
        value: `-0.`,
        value_type: str('double'),
        unit: str('By'),
        description: str('what it is'),
        flags: '2',
        metric_metadata: `CAST(map('k', '1'), 'Map(String, String)')`,
        metric_metadata_types: str('i'),
      }),
    ]);
    await store.insert('telemetry_metrics', TENANT_A, [
      point('sum', 'sum', {
        value: 'toFloat64(9223372036854775807)',
        value_int: '9223372036854775807',
        value_type: str('int'),
        is_monotonic: 'true',
        aggregation_temporality: str('CUMULATIVE'),
        ...EXEMPLARS,
      }),
    ]);
    await store.insert('telemetry_metrics', TENANT_A, [
      point('histogram', 'histogram', {
        count: `toUInt64('18446744073709551615')`,
        sum: 'inf',
        min: '-5e-324',
        explicit_bounds: '[0.1, 1e300, inf]',
        bucket_counts: `[toUInt64('18446744073709551615'), 0, 1, 0]`,
        aggregation_temporality: str('DELTA'),
      }),
    ]);
    await store.insert('telemetry_metrics', TENANT_A, [
      point('exponential', 'exponential_histogram', {
        count: '6',
        scale: '-3',
        zero_count: '1',
        zero_threshold: '1e-9',
        positive_offset: '-2147483648',
        positive_bucket_counts: '[1, 2]',
        negative_offset: '7',
        negative_bucket_counts: '[2]',
        aggregation_temporality: str('CUMULATIVE'),
      }),
    ]);
    await store.insert('telemetry_metrics', TENANT_A, [
      point('summary', 'summary', {
        count: '3',
        sum: '4.5',
        quantiles: '[0, 0.99]',
        quantile_values: '[nan, 2]',
      }),
    ]);
    await store.insert('telemetry_metrics', TENANT_A, [point('nothing', 'gauge', { flags: '1' })]);
    await store.insert('telemetry_metrics', TENANT_B, [point('gauge', 'gauge', {})]);
  });
  after(() => store.close());

  it('has name, times, attributes, resource and scope', async () => {
    const [found] = await list({ metric: 'gauge' });
    const { series_id, value, value_type, exemplars, ...rest } = found;
    assert.match(series_id, /^\d+$/);
    assert.deepEqual([value, value_type, exemplars], ['-0', 'double', []]);
    assert.deepEqual(rest, {
      timestamp: '2026-01-01T00:00:00.000000000Z',
      time_unix_nano: String(T0),
      start_time_unix_nano: '18446744073709551615',
      service_name: 'shop',
      metric_name: 'gauge',
      metric_type: 'gauge',
      unit: 'By',
      description: 'what it is',
      metadata: { k: 1 },
      metadata_types: { k: 'i' },
      attributes: { host: 'h1' },
      attribute_types: { host: 's' },
      flags: 2,
      resource: { attributes: {}, attribute_types: {}, dropped_attributes_count: 0, schema_url: '' },
      scope: {
        name: '',
        version: '',
        attributes: {},
        attribute_types: {},
        dropped_attributes_count: 0,
        schema_url: '',
      },
    });
  });

  it('of a sum keeps 64-bit integers and exemplars', async () => {
    assert.deepEqual(await data('sum'), {
      metric_type: 'sum',
      aggregation_temporality: 'CUMULATIVE',
      is_monotonic: true,
      value: '9223372036854775807',
      value_type: 'int',
      exemplars: [
        {
          timestamp: '2554-07-21T23:34:33.709551614Z',
          time_unix_nano: '18446744073709551614',
          value: 1.5,
          value_type: 'double',
          trace_id: TRACE,
          span_id: 'b7ad6b7169203331',
          attributes: { user: 7 },
          attribute_types: { user: 'i' },
        },
        {
          timestamp: '2026-01-01T00:00:00.000000000Z',
          time_unix_nano: String(T0),
          value: '9223372036854775807',
          value_type: 'int',
          trace_id: '',
          span_id: '',
          attributes: {},
          attribute_types: {},
        },
      ],
    });
  });

  it('of a histogram keeps buckets, infinities and what is missing', async () => {
    assert.deepEqual(await data('histogram'), {
      metric_type: 'histogram',
      aggregation_temporality: 'DELTA',
      count: '18446744073709551615',
      sum: 'Infinity',
      min: -5e-324,
      max: null,
      explicit_bounds: [0.1, 1e300, 'Infinity'],
      bucket_counts: ['18446744073709551615', '0', '1', '0'],
      exemplars: [],
    });
  });

  it('of an exponential histogram keeps scale, offsets and both sides', async () => {
    assert.deepEqual(await data('exponential'), {
      metric_type: 'exponential_histogram',
      aggregation_temporality: 'CUMULATIVE',
      count: '6',
      sum: null,
      min: null,
      max: null,
      scale: -3,
      zero_count: '1',
      zero_threshold: 1e-9,
      positive: { offset: -2147483648, bucket_counts: ['1', '2'] },
      negative: { offset: 7, bucket_counts: ['2'] },
      exemplars: [],
    });
  });

  it('of a summary keeps its quantiles', async () => {
    assert.deepEqual(await data('summary'), {
      metric_type: 'summary',
      count: '3',
      sum: 4.5,
      quantile_values: [
        { quantile: 0, value: 'NaN' },
        { quantile: 0.99, value: 2 },
      ],
    });
  });

  it('without a value says so', async () => {
    assert.deepEqual(await data('nothing'), {
      metric_type: 'gauge',
      value: null,
      value_type: 'none',
      exemplars: [],
    });
  });

  it('is found by metric, service and attributes, within its tenant', async () => {
    const count = async (question: Partial<PointQuestion>, scope = TENANT_A) =>
      (await list(question, scope)).length;
    assert.equal(await count({}), 6);
    assert.equal(await count({}, TENANT_B), 1);
    assert.equal(await count({ services: ['none'] }), 0);
    assert.equal(await count({ attributes: [{ key: 'host', values: ['h1'] }] }), 6);
    assert.equal(await count({ attributes: [{ key: 'host', values: ['h2'] }] }), 0);
    assert.equal(await count({ metric: `gauge' OR '1'='1` }), 0);
  });
});

describe('Pages of data points', () => {
  before(async () => {
    store = await TelemetryStore.open();
    // 60 points of 20 series on 3 nanoseconds, 15 of them sent twice.
    const points = `SELECT 'org', 'ws', 'a', fromUnixTimestamp64Nano(toInt64(${T0} + number % 3)), 'shop', 'm', 'gauge',
      map('host', toString(number % 20)), toFloat64(number), 'double' FROM numbers`;
    const columns =
      'organization_id, workspace_id, tenant_id, timestamp, service_name, metric_name, metric_type, attributes, value, value_type';
    await store.insertSelect('telemetry_metrics', columns, `${points}(60)`);
    await store.insertSelect('telemetry_metrics', columns, `${points}(15)`);
  });
  after(() => store.close());

  it('by cursor cover every point once, copies included', async () => {
    const seen: string[] = [];
    let cursor: string | undefined;
    do {
      const question: PointQuestion = { metric: 'm', services: [], attributes: [], order: 'desc' };
      const request = { page: 1, limit: 7, cursor };
      const page = await listMetricPoints(TENANT_A, store.clickhouse, question, RANGE, request);
      seen.push(...page.data.map(({ value, time_unix_nano }) => `${time_unix_nano} ${value}`));
      cursor = page.next_cursor ?? undefined;
    } while (cursor);
    assert.equal(seen.length, 75);
    assert.equal(new Set(seen).size, 60);
    const times = seen.map((text) => text.slice(0, 19));
    assert.deepEqual(times, times.toSorted().reverse());
  });
});
