import type { ClickHouse } from '../connections/clickhouse.js';
import type { Scope } from '../edge/scope.js';
import { AppError } from '../errors.js';
import type { AttributeFilter } from '../http/request.schema.js';
import type { TimeRange } from '../http/time.js';
import {
  Asking,
  attributeText,
  type Meta,
  restrictByAttributes,
  TELEMETRY_TABLES,
  Where,
} from '../store/statement.js';
import { exactDouble } from '../store/values.js';
import { type Aggregation, type MetricKind, quantileOf, requireAggregation } from './aggregation.js';
import { type Bucket, explicitBuckets, exponentialBuckets, quantile } from './histogram.js';
import {
  changeStatement,
  explicitStatement,
  exponentialStatement,
  numberStatement,
  type SeriesSource,
} from './metric-statements.js';

export interface SeriesQuestion {
  metric: string;
  services: string[];
  /** undefined: what fits the metric best. */
  agg?: Aggregation;
  stepMs: number;
  /** Attribute names, `resource.<key>` or `service_name`. */
  groupBy: string[];
  filters: AttributeFilter[];
}

/** A value of each step that has one: [start of the step in Unix milliseconds, value]. */
export interface Series {
  labels: Record<string, string>;
  points: [number, number | string][];
}

export interface SeriesAnswer {
  metric: string;
  /** '' when there are no points. */
  metric_type: MetricKind['type'] | '';
  unit: string;
  agg: Aggregation | null;
  /** Seconds. */
  step: number;
  source: 'raw';
  series: Series[];
  meta: Meta;
}

/** Points of all series together; more would be an answer that nobody can draw. */
const MAX_POINTS = 200_000;

interface KindRow {
  metric_type: MetricKind['type'];
  unit: string;
  cumulative: number;
  monotonic: boolean;
}

interface StepRow {
  step_ms: string;
  labels: string[];
}

interface ValueRow extends StepRow {
  value: string | null;
}

interface ExplicitRow extends StepRow {
  bounds: string[];
  counts: number[];
}

interface ExponentialRow extends StepRow {
  scale: number;
  zeros: number;
  threshold: number;
  positive: [string[], number[]];
  negative: [string[], number[]];
}

/**
 * A metric over time, from the raw points. Steps are aligned to the epoch; the first and the last one are cut at the
 * range, and a rate is per second of what is left of them. Points that say "no recorded value" are left out.
 *
 * @throws AppError INVALID_ARGUMENT when the aggregation has no meaning for the metric, QUERY_TOO_EXPENSIVE
 */
export async function queryMetric(
  scope: Scope,
  clickhouse: ClickHouse,
  question: SeriesQuestion,
  range: TimeRange,
  signal?: AbortSignal,
): Promise<SeriesAnswer> {
  const asking = new Asking(clickhouse, signal);
  const { metric, stepMs } = question;
  const found = await findKind(scope, asking, question, range);
  const head = { metric, metric_type: found?.kind.type ?? '', unit: found?.unit ?? '' } as const;
  const tail = { step: stepMs / 1000, source: 'raw' } as const;
  if (!found) return { ...head, agg: question.agg ?? null, ...tail, series: [], meta: asking.cost.meta() };
  const agg = requireAggregation(metric, found.kind, question.agg);
  const rows = await readValues(scope, asking, question, found.kind, agg, range);
  const divisor = agg === 'rate' ? (startMs: number) => secondsWithin(range, startMs, stepMs) : () => 1;
  return {
    ...head,
    agg,
    ...tail,
    series: toSeries(rows, question.groupBy, divisor),
    meta: asking.cost.meta(),
  };
}

function pointsOf(scope: Scope, question: SeriesQuestion): Where {
  const where = new Where(scope);
  where.and(`metric_name = ${where.bind('String', question.metric)}`);
  if (question.services.length > 0)
    where.and(`service_name IN ${where.bind('Array(String)', question.services)}`);
  restrictByAttributes(where, question.filters);
  // DATA_POINT_FLAGS_NO_RECORDED_VALUE_MASK
  return where.and('bitAnd(flags, 1) = 0');
}

async function findKind(
  scope: Scope,
  asking: Asking,
  question: SeriesQuestion,
  range: TimeRange,
): Promise<{ kind: MetricKind; unit: string } | undefined> {
  const where = pointsOf(scope, question).within(range);
  const rows = await asking.rows<KindRow>(
    `SELECT metric_type, topK(1)(unit)[1] AS unit, max(aggregation_temporality != 'DELTA') AS cumulative,
  min(is_monotonic) AS monotonic
FROM ${TELEMETRY_TABLES.metrics} WHERE ${where} AND metric_type != 'none' GROUP BY metric_type ORDER BY metric_type`,
    where,
  );
  if (rows.length === 0) return undefined;
  if (rows.length > 1) {
    const types = rows.map((row) => row.metric_type).join(' and ');
    throw new AppError(
      'INVALID_ARGUMENT',
      `${question.metric} is recorded as ${types}, which do not go together.`,
      {
        details: [
          {
            field: 'service',
            given: question.services.join(','),
            allowed: 'a service that records one type of it',
          },
        ],
      },
    );
  }
  const [{ metric_type, unit, cumulative, monotonic }] = rows;
  return { kind: { type: metric_type, monotonic: Boolean(monotonic), delta: !cumulative }, unit };
}

async function readValues(
  scope: Scope,
  asking: Asking,
  question: SeriesQuestion,
  kind: MetricKind,
  agg: Aggregation,
  range: TimeRange,
): Promise<ValueRow[]> {
  const where = pointsOf(scope, question);
  where.and(`metric_type = ${where.bind('String', kind.type)}`);
  const source: SeriesSource = {
    where,
    range,
    labels: `CAST([${question.groupBy.map((key) => attributeText(where, key)).join(', ')}], 'Array(String)')`,
    stepMs: where.bind('Int64', String(question.stepMs)),
    limit: where.bind('UInt32', MAX_POINTS + 1),
  };
  const ask = async <T>(statement: string) => bounded(await asking.rows<T>(statement, where));
  const isNumber = kind.type === 'gauge' || kind.type === 'sum';
  const q = quantileOf(agg);
  if (isNumber && agg !== 'rate' && agg !== 'increase') return ask(numberStatement(source, agg));
  if (isNumber || q === undefined) return ask(changeStatement(source, kind, agg));
  if (kind.type === 'histogram') {
    return quantiles(await ask<ExplicitRow>(explicitStatement(source)), q, (rows) =>
      explicitBuckets(rows.map(({ bounds, counts }) => ({ bounds: bounds.map(Number), counts }))),
    );
  }
  return quantiles(await ask<ExponentialRow>(exponentialStatement(source)), q, (rows) =>
    exponentialBuckets(rows.map(exponentialCounts)),
  );
}

function bounded<T>(rows: T[]): T[] {
  if (rows.length <= MAX_POINTS) return rows;
  const advice = 'Use a larger step, a shorter time range, fewer group_by keys or more filters.';
  throw new AppError('QUERY_TOO_EXPENSIVE', `The answer has more than ${MAX_POINTS} points. ${advice}`);
}

/** One value for all rows of a step and series, which stand together. */
function quantiles<Row extends StepRow>(
  rows: Row[],
  q: number,
  merge: (rows: Row[]) => Bucket[],
): ValueRow[] {
  const values: ValueRow[] = [];
  for (let start = 0, end = 1; start < rows.length; start = end, end++) {
    const { step_ms, labels } = rows[start];
    while (end < rows.length && rows[end].step_ms === step_ms && sameLabels(rows[end].labels, labels)) end++;
    const value = quantile(q, merge(rows.slice(start, end)));
    values.push({ step_ms, labels, value: value === undefined ? null : String(value) });
  }
  return values;
}

function exponentialCounts(row: ExponentialRow) {
  const counts = ([indices, values]: [string[], number[]]) =>
    new Map(indices.map((index, i) => [Number(index), values[i]]));
  return {
    scale: row.scale,
    zeroCount: row.zeros,
    zeroThreshold: row.threshold,
    positive: counts(row.positive),
    negative: counts(row.negative),
  };
}

const sameLabels = (a: string[], b: string[]) => a.every((label, i) => label === b[i]);

/** How much of a step lies within the range, in seconds. */
function secondsWithin({ fromNs, toNs }: TimeRange, startMs: number, stepMs: number): number {
  const startNs = BigInt(startMs) * 1_000_000n;
  const endNs = startNs + BigInt(stepMs) * 1_000_000n;
  return Number((endNs < toNs ? endNs : toNs) - (startNs > fromNs ? startNs : fromNs)) / 1e9;
}

/** Rows are in the order of labels and time. A step whose value is not known has no point. */
function toSeries(rows: ValueRow[], groupBy: string[], divisor: (startMs: number) => number): Series[] {
  const series: Series[] = [];
  let current: string[] | undefined;
  for (const { step_ms, labels, value } of rows) {
    if (value === null) continue;
    if (!current || !sameLabels(current, labels)) {
      current = labels;
      series.push({ labels: Object.fromEntries(groupBy.map((key, i) => [key, labels[i]])), points: [] });
    }
    const startMs = Number(step_ms);
    const exact = exactDouble(value);
    const point = typeof exact === 'number' ? exact / divisor(startMs) : exact;
    series[series.length - 1].points.push([startMs, point]);
  }
  return series;
}
