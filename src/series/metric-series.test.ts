import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import {
  at,
  attributes,
  type SqlRow,
  str,
  TENANT_A,
  TENANT_B,
  TelemetryStore,
} from '../../test/support/telemetry-store.js';
import { AppError } from '../errors.js';
import { queryMetric, type SeriesQuestion } from './metric-series.js';

const T0 = 1_767_225_600_000_000_000n; // 2026-01-01T00:00:00Z
const T0_MS = Number(T0 / 1_000_000n);
const SECOND = 1_000_000_000n;
const MINUTE_MS = 60_000;
const RANGE = { fromNs: T0, toNs: T0 + 180n * SECOND };

let store: TelemetryStore;

interface Point {
  seconds: number;
  metric: string;
  type: 'gauge' | 'sum' | 'histogram' | 'exponential_histogram' | 'summary';
  host?: string;
  startSeconds?: number;
  temporality?: 'DELTA' | 'CUMULATIVE';
  columns: SqlRow;
}

function row({
  seconds,
  metric,
  type,
  host = 'h1',
  startSeconds = -60,
  temporality,
  columns,
}: Point): SqlRow {
  return {
    timestamp: at(T0 + BigInt(seconds) * SECOND),
    start_timestamp: at(T0 + BigInt(startSeconds) * SECOND),
    service_name: str('shop'),
    metric_name: str(metric),
    metric_type: str(type),
    unit: str('ms'),
    aggregation_temporality: str(
      temporality ?? (type === 'gauge' || type === 'summary' ? 'UNSPECIFIED' : 'CUMULATIVE'),
    ),
    ...attributes({ host }),
    ...columns,
  };
}

const number = (value: number, isMonotonic = true): SqlRow => ({
  value: `toFloat64(${value})`,
  value_type: str('double'),
  is_monotonic: String(isMonotonic),
});
const gauge = (seconds: number, value: number, host = 'h1') =>
  row({ seconds, metric: 'queue.depth', type: 'gauge', host, columns: number(value, false) });
const counter = (metric: string, seconds: number, value: number, extra: Partial<Point> = {}) =>
  row({ seconds, metric, type: 'sum', columns: number(value), ...extra });
const histogram = (
  metric: string,
  seconds: number,
  counts: number[],
  sum: number,
  extra: Partial<Point> = {},
) =>
  row({
    seconds,
    metric,
    type: 'histogram',
    columns: {
      count: String(counts.reduce((a, b) => a + b, 0)),
      sum: `toFloat64(${sum})`,
      min: 'toFloat64(1)',
      max: 'toFloat64(60)',
      explicit_bounds: '[10., 20., 50.]',
      bucket_counts: `[${counts}]`,
    },
    ...extra,
  });

const ask = (question: Partial<SeriesQuestion>, range = RANGE, scope = TENANT_A) =>
  queryMetric(
    scope,
    store.clickhouse,
    { metric: 'queue.depth', services: [], stepMs: MINUTE_MS, groupBy: [], filters: [], ...question },
    range,
  );

/** The values of an answer with one series, by minute. */
async function minutes(question: Partial<SeriesQuestion>, range = RANGE): Promise<Record<number, unknown>> {
  const { series } = await ask(question, range);
  assert.ok(series.length <= 1);
  return Object.fromEntries(
    (series[0]?.points ?? []).map(([ms, value]) => [(ms - T0_MS) / MINUTE_MS, value]),
  );
}

const refused = (question: Partial<SeriesQuestion>, allowed: string) =>
  assert.rejects(
    () => ask(question),
    (error) => {
      assert.ok(error instanceof AppError && error.code === 'INVALID_ARGUMENT');
      assert.equal((error.details as { allowed: string }[])[0].allowed, allowed);
      return true;
    },
  );

describe('A gauge over time', () => {
  before(async () => {
    store = await TelemetryStore.open();
    const rows = [
      gauge(0, 1),
      gauge(20, 2),
      gauge(40, 6),
      gauge(60, 10),
      gauge(61, 30, 'h2'),
      gauge(180, 99),
      gauge(-1, 77),
    ];
    await store.insert('telemetry_metrics', TENANT_A, rows);
    await store.insert('telemetry_metrics', TENANT_B, [gauge(0, 1000)]);
    const unrecorded = { ...gauge(30, 5000), flags: '1' };
    await store.insert('telemetry_metrics', TENANT_A, [unrecorded]);
    await store.insert(
      'telemetry_metrics',
      TENANT_A,
      [
        ...[0, 1, 2, 3].map((i) =>
          row({ seconds: i, metric: 'odd', type: 'gauge', columns: number(0, false) }),
        ),
      ].map((odd, i) => ({ ...odd, value: ['nan', '1', 'inf', '2'][i].replace(/^(\d)$/, 'toFloat64($1)') })),
    );
  });
  after(() => store.close());

  it('has an average by default, for each step with points within [from, to)', async () => {
    const { metric, metric_type, unit, agg, step, source, series } = await ask({});
    assert.deepEqual(
      [metric, metric_type, unit, agg, step, source],
      ['queue.depth', 'gauge', 'ms', 'avg', 60, 'raw'],
    );
    assert.deepEqual(series, [
      {
        labels: {},
        points: [
          [T0_MS, 3],
          [T0_MS + MINUTE_MS, 20],
        ],
      },
    ]);
  });

  it('has minimum, maximum, sum, count, last and exact percentiles', async () => {
    assert.deepEqual(await minutes({ agg: 'min' }), { 0: 1, 1: 10 });
    assert.deepEqual(await minutes({ agg: 'max' }), { 0: 6, 1: 30 });
    assert.deepEqual(await minutes({ agg: 'sum' }), { 0: 9, 1: 40 });
    assert.deepEqual(await minutes({ agg: 'count' }), { 0: 3, 1: 2 });
    assert.deepEqual(await minutes({ agg: 'last' }), { 0: 6, 1: 30 });
    assert.deepEqual(await minutes({ agg: 'p50' }), { 0: 2, 1: 20 });
    // Between the 2nd and 3rd of 1, 2, 6 at 0.75 * 2 = 1.5; between 10 and 30 at 0.75.
    assert.deepEqual(await minutes({ agg: 'p75' }), { 0: 4, 1: 25 });
  });

  it('is split by attributes, resource attributes and service', async () => {
    const { series } = await ask({
      groupBy: ['host', 'service_name', 'resource.none', '__proto__'],
      agg: 'max',
    });
    assert.deepEqual(
      series.map(({ labels, points }) => [JSON.stringify(labels), points.map(([, value]) => value)]),
      [
        ['{"host":"h1","service_name":"shop","resource.none":"","__proto__":""}', [6, 10]],
        ['{"host":"h2","service_name":"shop","resource.none":"","__proto__":""}', [30]],
      ],
    );
  });

  it('is filtered by attributes and service', async () => {
    assert.deepEqual(await minutes({ filters: [{ key: 'host', values: ['h2'] }] }), { 1: 30 });
    assert.deepEqual(await minutes({ services: ['none'] }), {});
  });

  it('without points is empty, not an error', async () => {
    const { series, unit, agg } = await ask({ metric: 'none' });
    assert.deepEqual([series, unit, agg], [[], '', null]);
  });

  it('says NaN and infinities as text', async () => {
    const { series } = await ask({ metric: 'odd', agg: 'last', stepMs: 1000 });
    assert.deepEqual(
      series[0].points.map(([, value]) => value),
      ['NaN', 1, 'Infinity', 2],
    );
  });

  it('has no rate, and the refusal says what it has', async () => {
    await refused({ agg: 'rate' }, 'avg, min, max, sum, count, last, p50, p75, p90, p95, p99');
  });

  it('shows nothing of another tenant', async () => {
    assert.deepEqual((await ask({}, RANGE, TENANT_B)).series[0].points, [[T0_MS, 1000]]);
    assert.deepEqual((await ask({}, RANGE, { ...TENANT_A, tenantId: 'c' })).series, []);
  });

  it('takes names, keys and values as data, whatever SQL they hold', async () => {
    for (const hostile of [`'`, `') OR 1=1 --`, '{p0:String}', '\\', '`', ']) , (']) {
      assert.deepEqual((await ask({ metric: hostile })).series, []);
      assert.deepEqual((await ask({ services: [hostile] })).series, []);
      assert.deepEqual((await ask({ filters: [{ key: hostile, values: [hostile] }] })).series, []);
      const { series } = await ask({ groupBy: [hostile, `resource.${hostile}`] });
      assert.deepEqual(
        series.map(({ labels }) => labels),
        [{ [hostile]: '', [`resource.${hostile}`]: '' }],
      );
    }
  });
});

describe('A counter over time', () => {
  before(async () => {
    store = await TelemetryStore.open();
    await store.insert('telemetry_metrics', TENANT_A, [
      // Cumulative: 5 before the range, then 10, 25; process restarts and counts from 0 again: 4, 10.
      counter('requests', -30, 5),
      counter('requests', 0, 10),
      counter('requests', 30, 25),
      counter('requests', 60, 4),
      counter('requests', 90, 10),
      counter('requests', 150, 16),
      // A restart that the values do not show: the start time does.
      counter('restarted', 0, 10, { startSeconds: -3600 }),
      counter('restarted', 30, 20, { startSeconds: 5 }),
      // Started within the range: its first point counts; started long ago: it does not.
      counter('fresh', 30, 7, { startSeconds: 10 }),
      counter('ancient', 30, 7, { startSeconds: -86_400 }),
      counter('ancient', 60, 9, { startSeconds: -86_400 }),
      // Unknown start: the first point says start = time.
      counter('unknown', 30, 7, { startSeconds: 30 }),
      counter('unknown', 60, 9, { startSeconds: 30 }),
      // Two series, each falling back at another time.
      counter('two', 0, 100, { startSeconds: -86_400 }),
      counter('two', 30, 110, { startSeconds: -86_400 }),
      counter('two', 0, 1000, { host: 'h2', startSeconds: -86_400 }),
      counter('two', 30, 3, { host: 'h2', startSeconds: -86_400 }),
      counter('deltas', 0, 6, { temporality: 'DELTA' }),
      counter('deltas', 59, 6, { temporality: 'DELTA' }),
      counter('deltas', 60, 30, { temporality: 'DELTA', host: 'h2' }),
      counter('level', 0, 6, { columns: number(5, false) }),
    ]);
  });
  after(() => store.close());

  it('has the rate per second by default, resets respected', async () => {
    // Minute 0: 5 -> 10 -> 25 = 20; minute 1: restart 4, then 6 = 10; minute 2: 6.
    assert.deepEqual(await minutes({ metric: 'requests', agg: 'increase' }), { 0: 20, 1: 10, 2: 6 });
    assert.deepEqual(await minutes({ metric: 'requests' }), { 0: 20 / 60, 1: 10 / 60, 2: 6 / 60 });
  });

  it('of a cut step is per second of what is left of it', async () => {
    const cut = { fromNs: T0 + 30n * SECOND, toNs: T0 + 100n * SECOND };
    assert.deepEqual(await minutes({ metric: 'requests' }, cut), { 0: 15 / 30, 1: 10 / 40 });
  });

  it('counts from zero when its start time says that it was restarted', async () => {
    assert.deepEqual(await minutes({ metric: 'restarted', agg: 'increase' }), { 0: 20 });
  });

  it('counts its first point only when it began within what is read', async () => {
    assert.deepEqual(await minutes({ metric: 'fresh', agg: 'increase' }), { 0: 7 });
    assert.deepEqual(await minutes({ metric: 'ancient', agg: 'increase' }), { 1: 2 });
    assert.deepEqual(await minutes({ metric: 'unknown', agg: 'increase' }), { 1: 2 });
  });

  it('is followed series by series before they are added', async () => {
    assert.deepEqual(await minutes({ metric: 'two', agg: 'increase' }), { 0: 10 + 3 });
  });

  it('of deltas is their sum', async () => {
    assert.deepEqual(await minutes({ metric: 'deltas', agg: 'increase' }), { 0: 12, 1: 30 });
    assert.deepEqual(await minutes({ metric: 'deltas', agg: 'rate' }), { 0: 0.2, 1: 0.5 });
  });

  it('that can fall has no rate', async () => {
    await refused(
      { metric: 'level', agg: 'increase' },
      'last, avg, min, max, sum, count, p50, p75, p90, p95, p99',
    );
    assert.deepEqual(await minutes({ metric: 'level' }), { 0: 5 });
  });
});

describe('A distribution over time', () => {
  const exponential = (metric: string, seconds: number, counts: number[], scale: number, offset: number) =>
    row({
      seconds,
      metric,
      type: 'exponential_histogram',
      columns: {
        count: String(counts.reduce((a, b) => a + b, 0)),
        sum: 'toFloat64(60)',
        scale: String(scale),
        zero_count: '0',
        positive_offset: String(offset),
        positive_bucket_counts: `[${counts}]`,
      },
    });
  const summary = (seconds: number, count: number, sum: number) =>
    row({
      seconds,
      metric: 'old',
      type: 'summary',
      columns: { count: String(count), sum: `toFloat64(${sum})` },
    });

  before(async () => {
    store = await TelemetryStore.open();
    const delta = { temporality: 'DELTA' } as const;
    await store.insert('telemetry_metrics', TENANT_A, [
      histogram('d', 0, [0, 10, 0, 0], 150, delta),
      histogram('d', 30, [10, 0, 20, 0], 700, { ...delta, host: 'h2' }),
      // Cumulative: in minute 0 it grows by [0,10,0,0], in minute 1 it restarts with [4,0,0,0].
      histogram('c', -30, [5, 5, 0, 0], 100),
      histogram('c', 30, [5, 15, 0, 0], 250),
      histogram('c', 60, [4, 0, 0, 0], 20),
    ]);
    await store.insert('telemetry_metrics', TENANT_A, [
      // Scale 1 from index 4 is (4, 5.66], (5.66, 8]; the second point is coarser: scale 0, index 2 is (4, 8].
      exponential('e', -30, [2, 2], 1, 4),
      exponential('e', 30, [10, 4], 0, 2),
    ]);
    await store.insert('telemetry_metrics', TENANT_A, [
      summary(-10, 10, 100),
      summary(30, 15, 200),
      summary(60, 2, 10),
    ]);
  });
  after(() => store.close());

  it('has an average by default: sum over count of what was added', async () => {
    assert.deepEqual(await minutes({ metric: 'd' }), { 0: 850 / 40 });
    assert.deepEqual(await minutes({ metric: 'c' }), { 0: 15, 1: 5 });
    assert.deepEqual(await minutes({ metric: 'old' }), { 0: 20, 1: 5 });
  });

  it('has counts, sums and rates of observations', async () => {
    assert.deepEqual(await minutes({ metric: 'c', agg: 'count' }), { 0: 10, 1: 4 });
    assert.deepEqual(await minutes({ metric: 'c', agg: 'sum' }), { 0: 150, 1: 20 });
    assert.deepEqual(await minutes({ metric: 'd', agg: 'rate' }), { 0: 40 / 60 });
    assert.deepEqual(await minutes({ metric: 'old', agg: 'increase' }), { 0: 5, 1: 2 });
  });

  it('has percentiles of the merged buckets', async () => {
    // Together [10, 10, 20, 0]: half lie below 20, three quarters in the middle of (20, 50].
    assert.deepEqual(await minutes({ metric: 'd', agg: 'p50' }), { 0: 20 });
    assert.deepEqual(await minutes({ metric: 'd', agg: 'p75' }), { 0: 35 });
  });

  it('has percentiles of the differences of cumulative points, series by series', async () => {
    assert.deepEqual(await minutes({ metric: 'c', agg: 'p50' }), { 0: 15, 1: 5 });
    const { series } = await ask({ metric: 'd', agg: 'p50', groupBy: ['host'] });
    assert.deepEqual(
      series.map(({ labels, points }) => [labels.host, points[0][1]]),
      [
        ['h1', 15],
        ['h2', 27.5],
      ],
    );
  });

  it('has percentiles of exponential buckets, of different scales too', async () => {
    // At scale 0: 10 - (2 + 2) = 6 in (4, 8], 4 in (8, 16].
    const { 0: median } = await minutes({ metric: 'e', agg: 'p50' });
    assert.ok(Math.abs((median as number) - 4 * 2 ** (5 / 6)) < 1e-9, String(median));
  });

  it('has minimum and maximum only when points are deltas', async () => {
    assert.deepEqual(await minutes({ metric: 'd', agg: 'max' }), { 0: 60 });
    await refused({ metric: 'c', agg: 'max' }, 'avg, sum, count, rate, increase, p50, p75, p90, p95, p99');
  });

  it('of a summary has no percentiles: they cannot be merged', async () => {
    await refused({ metric: 'old', agg: 'p99' }, 'avg, sum, count, rate, increase');
  });

  it('under one name with another type is refused', async () => {
    await store.insert('telemetry_metrics', TENANT_A, [
      row({ seconds: 1, metric: 'd', type: 'gauge', columns: number(1) }),
    ]);
    await refused({ metric: 'd' }, 'a service that records one type of it');
  });
});

describe('What a metric was when last asked for', () => {
  before(async () => {
    store = await TelemetryStore.open();
  });
  after(() => store.close());
  const over = (fromSeconds: number, toSeconds: number) => ({
    fromNs: T0 + BigInt(fromSeconds) * SECOND,
    toNs: T0 + BigInt(toSeconds) * SECOND,
  });
  const ask = async (question: Partial<SeriesQuestion>, fromSeconds: number, toSeconds: number) => {
    const whole = {
      metric: 'changing',
      services: [],
      stepMs: MINUTE_MS,
      groupBy: [],
      filters: [],
      ...question,
    };
    const { metric_type, agg, series } = await queryMetric(
      TENANT_A,
      store.clickhouse,
      whole,
      over(fromSeconds, toSeconds),
    );
    return { metric_type, agg, points: series[0]?.points };
  };

  it('is no more than a guess: answers are those of what it is', async () => {
    const gauges = [3600, 3601].map((seconds) =>
      row({ seconds, metric: 'changing', type: 'gauge', columns: number(5, false) }),
    );
    const sums = [7200, 7201, 7202].map((seconds) =>
      counter('changing', seconds, seconds - 7199, { startSeconds: 7199 }),
    );
    await store.insert('telemetry_metrics', TENANT_A, [...gauges, ...sums]);
    const average = { metric_type: 'gauge', agg: 'avg', points: [[T0_MS + 3_600_000, 5]] };
    const rate = { metric_type: 'sum', agg: 'rate', points: [[T0_MS + 7_200_000, 3 / 60]] };
    for (let round = 0; round < 2; round++) {
      assert.deepEqual(await ask({}, 3600, 3660), average);
      assert.deepEqual(await ask({}, 7200, 7260), rate);
      assert.deepEqual(await ask({ agg: 'rate' }, 7200, 7260), rate);
      await assert.rejects(ask({ agg: 'rate' }, 3600, 3660), { code: 'INVALID_ARGUMENT' });
    }
  });
});
