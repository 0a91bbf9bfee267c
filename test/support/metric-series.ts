import fc from 'fast-check';
import type { Scope } from '../../src/edge/scope.js';
import type { Aggregation } from '../../src/series/aggregation.js';
import { TouchedHours } from '../../src/series/touched-hours.js';
import type { TelemetryStore } from './telemetry-store.js';

/** 2026-01-01T00:00:00Z, when random data points begin. */
export const T0_MS = 1_767_225_600_000;

const KINDS = {
  gauge: ['gauge', 'UNSPECIFIED', ['avg', 'min', 'max', 'sum', 'count', 'last', 'p90']],
  counter: ['sum', 'CUMULATIVE', ['rate', 'increase', 'max', 'last']],
  delta: ['sum', 'DELTA', ['rate', 'increase', 'sum', 'avg']],
  level: ['sum', 'CUMULATIVE', ['last', 'avg', 'count']],
  histogram: ['histogram', 'CUMULATIVE', ['avg', 'sum', 'count', 'rate', 'increase', 'p50', 'p99']],
  delta_histogram: ['histogram', 'DELTA', ['min', 'max', 'count', 'p75']],
  exponential: ['exponential_histogram', 'CUMULATIVE', ['avg', 'count', 'p50', 'p95']],
  delta_exponential: ['exponential_histogram', 'DELTA', ['sum', 'increase', 'p90', 'min']],
  summary: ['summary', 'UNSPECIFIED', ['avg', 'sum', 'count', 'rate']],
} as const satisfies Record<string, [string, string, Aggregation[]]>;
type Kind = keyof typeof KINDS;
export const ALL_KINDS = Object.keys(KINDS) as Kind[];

/** Metrics of random data, each named after its kind, and what can be asked of it. */
export const askable = fc
  .constantFrom(...ALL_KINDS)
  .chain((metric) =>
    fc.record({ metric: fc.constant(metric), agg: fc.constantFrom<Aggregation>(...KINDS[metric][2]) }),
  );

const pointArbitrary = fc.record({
  // Scraped, with gaps, silent for hours.
  afterS: fc.oneof(
    { weight: 6, arbitrary: fc.integer({ min: 1, max: 900 }) },
    { weight: 2, arbitrary: fc.constantFrom(3599, 3600, 3601) },
    { weight: 2, arbitrary: fc.integer({ min: 900, max: 30_000 }) },
  ),
  amount: fc.integer({ min: 0, max: 1000 }),
  event: fc.constantFrom('', '', '', '', 'reset', 'restart', 'copy', 'unrecorded', 'rescale', 'no sum'),
});

export const seriesArbitrary = fc.record({
  kind: fc.constantFrom(...ALL_KINDS),
  host: fc.constantFrom('h1', 'h2', 'h3'),
  service: fc.constantFrom('shop', 'pay'),
  firstS: fc.integer({ min: 0, max: 200_000 }),
  /** How long before its first point the series began. */
  beganS: fc.constantFrom(0, 30, 600, 601, 86_400),
  points: fc.array(pointArbitrary, { minLength: 5, maxLength: 40 }),
});
export type RandomSeries = ReturnType<typeof seriesArbitrary.generate>['value'];

const BOUNDS = [
  [10, 20, 50],
  [5, 20, 30, 100],
];

const time = (ms: number) => new Date(ms).toISOString().replace('T', ' ').replace('Z', '');

/** The rows of a series, `instance` telling it from others. */
export function rowsOf(series: RandomSeries, instance: number): object[] {
  const { kind, host, service } = series;
  const [type, temporality] = KINDS[kind];
  const isDelta = temporality === 'DELTA';
  const rows: object[] = [];
  let atMs = T0_MS + series.firstS * 1000;
  let startMs = atMs - series.beganS * 1000;
  let amounts = [0, 0, 0, 0, 0];
  let shape = instance % 2;
  for (const { afterS, amount, event } of series.points) {
    if (event === 'restart') startMs = atMs + 1;
    if (event === 'restart' || event === 'rescale') shape = 1 - shape;
    atMs += afterS * 1000;
    if (isDelta || event === 'reset' || event === 'restart') amounts = [0, 0, 0, 0, 0];
    amounts[amount % (BOUNDS[shape].length + 1)] += amount;
    const count = amounts.reduce((a, b) => a + b, 0);
    const isNumber = type === 'gauge' || type === 'sum';
    const row = {
      timestamp: time(atMs),
      start_timestamp: time(startMs),
      service_name: service,
      metric_name: kind,
      metric_type: type,
      unit: amount % 7 === 0 ? 's' : 'ms',
      aggregation_temporality: temporality,
      is_monotonic: kind === 'counter' || kind === 'delta',
      attributes: { host, instance: String(instance) },
      flags: event === 'unrecorded' ? 1 : 0,
      value: kind === 'gauge' || kind === 'level' ? amount : count,
      value_type: isNumber ? 'int' : 'none',
      count,
      sum: event === 'no sum' ? null : count * 3,
      min: amount,
      max: amount + 5,
      explicit_bounds: type === 'histogram' ? BOUNDS[shape] : [],
      bucket_counts: type === 'histogram' ? amounts.slice(0, BOUNDS[shape].length + 1) : [],
      scale: shape,
      zero_count: type === 'exponential_histogram' ? amounts[4] : 0,
      zero_threshold: shape / 100,
      positive_offset: shape - 2,
      positive_bucket_counts: type === 'exponential_histogram' ? amounts.slice(0, 2) : [],
      negative_offset: 1,
      negative_bucket_counts: type === 'exponential_histogram' ? amounts.slice(2, 4) : [],
    };
    rows.push(row, ...(event === 'copy' ? [row] : []));
  }
  return rows;
}

/** Stores rows of data points for a tenant, and notes their hours, as the worker does. */
export async function storePoints(store: TelemetryStore, scope: Scope, rows: object[]): Promise<void> {
  const hoursMs = rows.map((row) => {
    const atMs = Date.parse(`${(row as { timestamp: string }).timestamp}Z`);
    return atMs - (atMs % 3_600_000);
  });
  await new TouchedHours(store.clickhouse).note(scope, [...new Set(hoursMs)]);
  const ids = {
    organization_id: scope.organizationId,
    workspace_id: scope.workspaceId,
    tenant_id: scope.tenantId,
  };
  await store.clickhouse.client.insert({
    table: 'telemetry_metrics',
    values: rows.map((row) => ({ ...ids, ...row })),
    format: 'JSONEachRow',
  });
}

/** As if what was stored until now had been so an hour ago: only then is it certain that a rollup has seen it. */
export async function letNotesAge(store: TelemetryStore): Promise<void> {
  const columns =
    'organization_id, workspace_id, tenant_id, hour, touched_at, rolled_at, written_at, day_rolled_at, points, dropped';
  const times = ['touched_at', 'rolled_at', 'written_at', 'day_rolled_at'];
  const aged = times.reduce(
    (text, name) => text.replace(name, `if(${name} > 3600, ${name} - 3600, ${name})`),
    columns,
  );
  await store.clickhouse.command('CREATE TABLE IF NOT EXISTS aged AS rollup_hours');
  await store.clickhouse.command(`INSERT INTO aged (${columns}) SELECT ${aged} FROM rollup_hours`);
  await store.clickhouse.command('TRUNCATE TABLE rollup_hours');
  await store.clickhouse.command(`INSERT INTO rollup_hours (${columns}) SELECT ${columns} FROM aged`);
  await store.clickhouse.command('TRUNCATE TABLE aged');
}
