import type { ClickHouse } from '../connections/clickhouse.js';
import type { Scope } from '../edge/scope.js';
import { AppError } from '../errors.js';
import type { AttributeFilter } from '../http/request.schema.js';
import type { TimeRange } from '../http/time.js';
import { Asking, attributeText, type Meta, restrictByAttributes, Where } from '../store/statement.js';
import { exactDouble } from '../store/values.js';
import { type Aggregation, type MetricKind, quantileOf, requireAggregation } from './aggregation.js';
import { type Bucket, explicitBuckets, exponentialBuckets, quantile } from './histogram.js';
import {
  bucketStatement,
  isOfChange,
  kindStatement,
  needsPoints,
  quantileStatement,
  type SeriesSource,
  valueStatement,
} from './metric-statements.js';
import { EXPLICIT, EXPONENTIAL, LOOK_BACK_MS } from './point-changes.js';
import { isSameKind, RememberedKinds } from './remembered-kinds.js';
import { hadPoints, readRollupState } from './rollup-hours.js';
import {
  coarsest,
  DAY_MS,
  type Need,
  type Plan,
  planSegments,
  type Segment,
  type Source,
} from './rollup-plan.js';

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
  /** The coarsest that was read. */
  source: Source;
  series: Series[];
  meta: Meta;
}

const kinds = new RememberedKinds();

/** Points of all series together; more would be an answer that nobody can draw. */
const MAX_POINTS = 200_000;

const POINTS_GONE =
  'Data points of a part of the time range are no longer kept. Use a step of whole hours or days, and a range that begins on one.';

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

const EXPLICIT_TEXT =
  'arrayMap(x -> toString(x), tupleElement(set, 1)) AS bounds, tupleElement(set, 2) AS counts';
const EXPONENTIAL_TEXT = `tupleElement(set, 1) AS scale, tupleElement(set, 2) AS zeros, tupleElement(set, 3) AS threshold,
  tupleElement(set, 4) AS positive, tupleElement(set, 5) AS negative`;

/**
 * A metric over time, from the coarsest rollups that answer as the raw points would, and from these where there are none. Steps are
 * aligned to the epoch; the first and the last one are cut at the range, and a rate is per second of what is left of them.
 * Points that say "no recorded value" are left out. `meta.partial` says that raw points are needed that are gone.
 *
 * @param from `raw`: the raw points alone
 * @throws AppError INVALID_ARGUMENT when the aggregation has no meaning for the metric, QUERY_TOO_EXPENSIVE
 */
export async function queryMetric(
  scope: Scope,
  clickhouse: ClickHouse,
  question: SeriesQuestion,
  range: TimeRange,
  signal?: AbortSignal,
  from: 'coarsest' | 'raw' = 'coarsest',
): Promise<SeriesAnswer> {
  const asking = new Asking(clickhouse, signal);
  const { metric, stepMs } = question;
  const state = from === 'raw' ? undefined : await readRollupState(scope, asking, clickhouse, range);
  const planFor = (need: Need): Plan =>
    state ? planSegments(range, need, state) : { segments: [{ source: 'raw', ...range }], gone: [] };
  // What a metric is does not depend on the steps.
  const kindPlan = planFor({ stepMs: DAY_MS, canBeRolled: true, lookBackMs: 0 });
  const plannedFor = (kind: MetricKind, agg: Aggregation): Plan =>
    planFor({
      stepMs,
      canBeRolled: !needsPoints(kind, agg),
      lookBackMs: isOfChange(kind, agg) ? LOOK_BACK_MS : 0,
    });
  const read = (kind: MetricKind) => {
    const agg = requireAggregation(metric, kind, question.agg);
    const plan = plannedFor(kind, agg);
    return { agg, plan, rows: readValues(scope, asking, question, kind, agg, plan.segments) };
  };
  // What the metric was when last asked for is taken for what it is now, while that is asked: both statements run at once.
  const guess = kinds.guess(clickhouse, scope, question);
  const ahead = guess && read(guess);
  ahead?.rows.catch(() => undefined);
  const found = await findKind(scope, asking, question, kindPlan.segments);
  if (found) kinds.remember(clickhouse, scope, question, found.kind);
  const answer = async (plan: Plan, agg: Aggregation | null, series: Series[]): Promise<SeriesAnswer> => {
    const source = coarsest(plan.segments.map((segment) => segment.source));
    const partial = plan.gone.length > 0 && (await hadPoints(scope, asking, plan.gone));
    const { kind, unit } = found ?? { kind: { type: '' as const }, unit: '' };
    const why = partial ? ({ partial: true, partial_reason: POINTS_GONE } as const) : {};
    const meta = { ...asking.cost.meta(), source, ...why };
    return { metric, metric_type: kind.type, unit, agg, step: stepMs / 1000, source, series, meta };
  };
  if (!found) return answer(kindPlan, question.agg ?? null, []);
  const { agg, plan, rows } = ahead && isSameKind(guess, found.kind) ? ahead : read(found.kind);
  const divisor = agg === 'rate' ? (startMs: number) => secondsWithin(range, startMs, stepMs) : () => 1;
  return answer(plan, agg, toSeries(await rows, question.groupBy, divisor));
}

/** Columns that points and rollups have both. */
function pointsOf(scope: Scope, question: SeriesQuestion): Where {
  const where = new Where(scope);
  where.and(`metric_name = ${where.bind('String', question.metric)}`);
  if (question.services.length > 0)
    where.and(`service_name IN ${where.bind('Array(String)', question.services)}`);
  restrictByAttributes(where, question.filters);
  return where;
}

async function findKind(
  scope: Scope,
  asking: Asking,
  question: SeriesQuestion,
  segments: readonly Segment[],
): Promise<{ kind: MetricKind; unit: string } | undefined> {
  const where = pointsOf(scope, question);
  const rows = await asking.rows<KindRow>(kindStatement({ where, segments }), where);
  if (rows.length === 0) return undefined;
  const types = [...new Set(rows.map((row) => row.metric_type))];
  if (types.length > 1) {
    throw new AppError(
      'INVALID_ARGUMENT',
      `${question.metric} is recorded as ${types.join(' and ')}, which do not go together.`,
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
  const monotonic = rows.every((row) => Boolean(row.monotonic));
  const delta = rows.every((row) => !row.cumulative);
  // The unit of most points comes first.
  return { kind: { type: types[0], monotonic, delta }, unit: rows[0].unit };
}

async function readValues(
  scope: Scope,
  asking: Asking,
  question: SeriesQuestion,
  kind: MetricKind,
  agg: Aggregation,
  segments: readonly Segment[],
): Promise<ValueRow[]> {
  const where = pointsOf(scope, question);
  where.and(`metric_type = ${where.bind('String', kind.type)}`);
  const source: SeriesSource = {
    where,
    segments,
    labels: `CAST([${question.groupBy.map((key) => attributeText(where, key)).join(', ')}], 'Array(String)')`,
    stepMs: where.bind('Int64', String(question.stepMs)),
    limit: where.bind('UInt32', MAX_POINTS + 1),
  };
  const ask = async <T>(statement: string) => bounded(await asking.rows<T>(statement, where));
  const q = quantileOf(agg);
  if (q === undefined) return ask(valueStatement(source, kind, agg));
  if (needsPoints(kind, agg)) return ask(quantileStatement(source, q));
  if (kind.type === 'histogram') {
    const rows = await ask<ExplicitRow>(bucketStatement(source, EXPLICIT, EXPLICIT_TEXT));
    return quantiles(rows, q, (sets) =>
      explicitBuckets(sets.map(({ bounds, counts }) => ({ bounds: bounds.map(Number), counts }))),
    );
  }
  const rows = await ask<ExponentialRow>(bucketStatement(source, EXPONENTIAL, EXPONENTIAL_TEXT));
  return quantiles(rows, q, (sets) => exponentialBuckets(sets.map(exponentialCounts)));
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
