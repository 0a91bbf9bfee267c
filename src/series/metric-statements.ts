import type { TimeRange } from '../http/time.js';
import { TELEMETRY_TABLES, type Where } from '../store/statement.js';
import { type Aggregation, type MetricKind, quantileOf } from './aggregation.js';
import {
  type BucketSets,
  type ChangeColumns,
  changeOf,
  LOOK_BACK_MS,
  OBSERVED,
  pointsWithChange,
  RECORDED,
} from './point-changes.js';
import type { Segment, Source } from './rollup-plan.js';

/** What a statement is about, and how it is put into steps and series. */
export interface SeriesSource {
  /** What points and rollups must meet, less the time. */
  where: Where;
  /** Where they are read from. */
  segments: readonly Segment[];
  /** SQL of the labels: Array(String). */
  labels: string;
  /** Placeholder: milliseconds. */
  stepMs: string;
  /** Placeholder: rows. */
  limit: string;
}

/** SQL of values `a` and `b` that are added up per step, from raw points and from rollups, and of what is made of them. */
interface Measure {
  raw: { a: string; b?: string };
  rolled: { a: string; b?: string };
  value: string;
}

/** Types and units of a metric: rows {metric_type, unit, cumulative, monotonic, points}. */
export function kindStatement({ where, segments }: Pick<SeriesSource, 'where' | 'segments'>): string {
  const branches = branchesOf(segments, (source, stretches) => {
    const [table, condition, points] =
      source === 'raw'
        ? [TELEMETRY_TABLES.metrics, `${rawWithin(where, stretches)} AND ${RECORDED}`, 'count()']
        : [`${source} FINAL`, rolledWithin(where, stretches), 'sum(points)'];
    return `SELECT metric_type, unit, max(aggregation_temporality != 'DELTA') AS is_cumulative,
  min(is_monotonic) AS only_grows, ${points} AS n
FROM ${table} WHERE ${where} AND ${condition} AND metric_type != 'none' GROUP BY metric_type, unit`;
  });
  return `SELECT metric_type, unit, max(is_cumulative) AS cumulative, min(only_grows) AS monotonic, sum(n) AS points
FROM (${branches}) GROUP BY metric_type, unit ORDER BY metric_type, points DESC, unit`;
}

/** Values of gauges and sums as they are, or what happened in each step of the others: rows {step_ms, labels, value}. */
export function valueStatement(source: SeriesSource, kind: MetricKind, agg: Aggregation): string {
  const isNumber = kind.type === 'gauge' || kind.type === 'sum';
  const isChange = isOfChange(kind, agg);
  const { raw, rolled, value } = isChange ? ofChange(isNumber, agg) : ofValues(agg);
  const both = ({ a, b = '0' }: { a: string; b?: string }) => `${a} AS a, ${b} AS b`;
  const branches = branchesOf(source.segments, (from, stretches) => {
    if (from !== 'raw') return stepsOf(source, from, stretches, both(rolled));
    if (!isChange) {
      return `SELECT ${rawStep(source)}, ${both(raw)} FROM ${TELEMETRY_TABLES.metrics}
WHERE ${source.where} AND ${rawWithin(source.where, stretches)} AND ${RECORDED} GROUP BY step_ms, labels`;
    }
    const columns = isNumber ? { columns: ['value AS amount'], before: ['amount'] } : OBSERVED;
    return `SELECT step_ms, labels, ${both(raw)} FROM (${changedPoints(source, stretches, columns)})
WHERE change != 'unknown' GROUP BY step_ms, labels`;
  });
  return `SELECT step_ms, labels, toString(${value}) AS value FROM (${branches})
GROUP BY step_ms, labels ORDER BY labels, step_ms LIMIT ${source.limit}`;
}

/** Exact percentiles of points, which no rollup has: rows {step_ms, labels, value}. */
export function quantileStatement(source: SeriesSource, q: number): string {
  return `SELECT ${rawStep(source)}, toString(quantileExactInclusive(${q})(value)) AS value FROM ${TELEMETRY_TABLES.metrics}
WHERE ${source.where} AND ${rawWithin(source.where, source.segments)} AND ${RECORDED}
GROUP BY step_ms, labels ORDER BY labels, step_ms LIMIT ${source.limit}`;
}

/** Bucket counts in each step: rows {step_ms, labels, set}, one per set of bounds or scale; `toText` makes JSON of a set. */
export function bucketStatement(source: SeriesSource, sets: BucketSets, toText: string): string {
  const { points, ofPoint, column, key, sum } = sets;
  const columns = ['toFloat64(count) AS amount', ...points.columns];
  const before = ['amount', ...points.before];
  const branches = branchesOf(source.segments, (from, stretches) =>
    from === 'raw'
      ? `SELECT step_ms, labels, arrayJoin(${ofPoint}) AS part FROM (${changedPoints(source, stretches, { columns, before })})`
      : `SELECT ${rolledStep(source)}, arrayJoin(${column}) AS part FROM ${from} FINAL
WHERE ${source.where} AND ${rolledWithin(source.where, stretches)}`,
  );
  return `SELECT step_ms, labels, ${toText} FROM (
  SELECT step_ms, labels, ${key} AS bucket_key, ${sum} AS set FROM (${branches}) GROUP BY step_ms, labels, bucket_key
) ORDER BY labels, step_ms, bucket_key LIMIT ${source.limit}`;
}

function ofValues(agg: Aggregation): Measure {
  switch (agg) {
    case 'avg':
      return {
        raw: { a: 'sum(value)', b: 'toFloat64(count())' },
        rolled: { a: 'sum(sum)', b: 'sum(summed)' },
        value: 'sum(a) / sum(b)',
      };
    case 'count':
      return { raw: { a: 'toFloat64(count())' }, rolled: { a: 'sum(count)' }, value: 'sum(a)' };
    case 'last':
      return {
        raw: { a: 'max((timestamp, series_id, value))' },
        rolled: { a: 'max((last_timestamp, series_id, last))' },
        value: 'tupleElement(max(a), 3)',
      };
    default:
      return {
        raw: { a: `${agg}(value)` },
        rolled: { a: `${agg}(${agg})` },
        value: `${agg}(a)`,
      };
  }
}

function ofChange(isNumber: boolean, agg: Aggregation): Measure {
  const amount = changeOf('amount');
  const total = changeOf('total');
  switch (agg) {
    case 'sum':
      return { raw: { a: `sum(${total})` }, rolled: { a: 'sum(sum)' }, value: 'sum(a)' };
    case 'avg':
      return {
        raw: { a: `sum(${total})`, b: `sumIf(${amount}, (${total}) IS NOT NULL)` },
        rolled: { a: 'sum(sum)', b: 'sum(summed)' },
        value: 'sum(a) / nullIf(sum(b), 0)',
      };
    case 'min':
      return { raw: { a: 'min(least)' }, rolled: { a: 'min(min)' }, value: 'min(a)' };
    case 'max':
      return { raw: { a: 'max(most)' }, rolled: { a: 'max(max)' }, value: 'max(a)' };
    default:
      return {
        raw: { a: `sum(${amount})` },
        rolled: { a: isNumber ? 'sum(increase)' : 'sum(count)' },
        value: 'sum(a)',
      };
  }
}

/** A branch for each source that segments are of. */
function branchesOf(
  segments: readonly Segment[],
  branch: (source: Source, stretches: readonly TimeRange[]) => string,
): string {
  const sources = [...new Set(segments.map(({ source }) => source))];
  return sources
    .map((source) =>
      branch(
        source,
        segments.filter((segment) => segment.source === source),
      ),
    )
    .join('\nUNION ALL\n');
}

const stepsOf = (source: SeriesSource, table: Source, stretches: readonly TimeRange[], values: string) =>
  `SELECT ${rolledStep(source)}, ${values} FROM ${table} FINAL
WHERE ${source.where} AND ${rolledWithin(source.where, stretches)} GROUP BY step_ms, labels`;

const rawStep = ({ stepMs, labels }: SeriesSource) =>
  `intDiv(toUnixTimestamp64Milli(timestamp), ${stepMs}) * ${stepMs} AS step_ms, ${labels} AS labels`;
const rolledStep = ({ stepMs, labels }: SeriesSource) =>
  `intDiv(toInt64(toUnixTimestamp(timestamp)) * 1000, ${stepMs}) * ${stepMs} AS step_ms, ${labels} AS labels`;

const anyOf = (conditions: string[]) => `(${conditions.join(' OR ')})`;

const rawWithin = (where: Where, stretches: readonly TimeRange[]) =>
  anyOf(
    stretches.map(
      ({ fromNs, toNs }) => `timestamp >= ${where.bindTime(fromNs)} AND timestamp < ${where.bindTime(toNs)}`,
    ),
  );

/** Whole hours; the seconds of a DateTime end in 2106. */
const rolledWithin = (where: Where, stretches: readonly TimeRange[]) => {
  const seconds = (ns: bigint) => `toDateTime(${where.bind('UInt32', String(ns / 1_000_000_000n))}, 'UTC')`;
  return anyOf(
    stretches.map(({ fromNs, toNs }) => `timestamp >= ${seconds(fromNs)} AND timestamp < ${seconds(toNs)}`),
  );
};

/** The points of the stretches, each compared with the one before it, wherever that lies. */
function changedPoints(
  source: SeriesSource,
  stretches: readonly TimeRange[],
  { columns, before }: ChangeColumns,
): string {
  const lookBackNs = BigInt(LOOK_BACK_MS) * 1_000_000n;
  const earlier = (ns: bigint) => (ns > lookBackNs ? ns - lookBackNs : 0n);
  const read = stretches.map(({ fromNs, toNs }) => ({ fromNs: earlier(fromNs), toNs }));
  const points = pointsWithChange(`${source.where} AND ${rawWithin(source.where, read)}`, {
    columns: [rawStep(source), ...columns],
    before,
  });
  return `SELECT * FROM (${points}) WHERE ${rawWithin(source.where, stretches)}`;
}

/** Whether only single points tell, so that no rollup does: percentiles of numbers. */
export const needsPoints = (kind: MetricKind, agg: Aggregation) =>
  (kind.type === 'gauge' || kind.type === 'sum') && quantileOf(agg) !== undefined;

/** Whether a point's value depends on the point before it. */
export const isOfChange = (kind: MetricKind, agg: Aggregation) =>
  (kind.type !== 'gauge' && kind.type !== 'sum') || agg === 'rate' || agg === 'increase';
