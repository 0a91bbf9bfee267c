import type { TimeRange } from '../http/time.js';
import { TELEMETRY_TABLES, type Where } from '../store/statement.js';
import { type Aggregation, type MetricKind, quantileOf } from './aggregation.js';

/** The points a statement is about, and how they are put into steps and series. */
export interface SeriesSource {
  /** The metric's points of one type, less the time range. */
  where: Where;
  range: TimeRange;
  /** SQL of the labels: Array(String). */
  labels: string;
  /** Placeholder: milliseconds. */
  stepMs: string;
  /** Placeholder: rows. */
  limit: string;
}

/**
 * How far before the range the point is looked for that a series' first change is counted from. SDKs send every
 * minute unless told otherwise; a series that was silent for longer begins anew.
 */
const LOOK_BACK_NS = 600_000_000_000n;

/** Values of gauges and sums as they are: rows {step_ms, labels, value}. */
export function numberStatement(source: SeriesSource, agg: Aggregation): string {
  const { where, range, labels, limit } = source;
  return `SELECT ${step(source)} AS step_ms, ${labels} AS labels, toString(${ofValues(agg)}) AS value
FROM ${TELEMETRY_TABLES.metrics} WHERE ${where.within(range)} AND value_type != 'none'
GROUP BY step_ms, labels ORDER BY labels, step_ms LIMIT ${limit}`;
}

function ofValues(agg: Aggregation): string {
  const q = quantileOf(agg);
  if (q !== undefined) return `quantileExactInclusive(${q})(value)`;
  if (agg === 'last') return 'argMax(value, (timestamp, series_id))';
  return agg === 'count' ? 'count()' : `${agg}(value)`;
}

/** What happened in each step, of sums, histograms and summaries: rows {step_ms, labels, value}. */
export function changeStatement(source: SeriesSource, kind: MetricKind, agg: Aggregation): string {
  const isSum = kind.type === 'sum';
  const measures = isSum ? { amount: 'value', total: 'value' } : { amount: 'toFloat64(count)', total: 'sum' };
  const columns = [
    `${measures.amount} AS amount`,
    `${measures.total} AS total`,
    'min AS least',
    'max AS most',
  ];
  const points = pointsWithChange(source, columns, ['amount', 'total']);
  return `SELECT step_ms, labels, toString(${ofChange(agg)}) AS value FROM (
  SELECT step_ms, labels, least, most,
    if(change = 'difference', amount - amount_before, amount) AS amounted,
    if(change = 'difference', total - total_before, total) AS totalled
  FROM (${points})
)
GROUP BY step_ms, labels ORDER BY labels, step_ms LIMIT ${source.limit}`;
}

function ofChange(agg: Aggregation): string {
  switch (agg) {
    case 'sum':
      return 'sum(totalled)';
    case 'avg':
      return 'sum(totalled) / nullIf(sumIf(amounted, totalled IS NOT NULL), 0)';
    case 'min':
      return 'min(least)';
    case 'max':
      return 'max(most)';
    default:
      return 'sum(amounted)';
  }
}

/** Bucket counts of explicit histograms in each step: rows {step_ms, labels, bounds, counts}, one per set of bounds. */
export function explicitStatement(source: SeriesSource): string {
  const columns = ['toFloat64(count) AS amount', 'explicit_bounds AS bounds', 'bucket_counts AS counts'];
  const points = pointsWithChange(source, columns, ['amount', 'bounds', 'counts']);
  return `SELECT step_ms, labels, arrayMap(x -> toString(x), part.1) AS bounds, sumForEach(part.2) AS counts FROM (
  SELECT step_ms, labels, arrayJoin(arrayConcat(
    [(bounds, arrayMap(x -> toFloat64(x), counts))],
    if(change = 'difference', [(bounds_before, arrayMap(x -> -toFloat64(x), counts_before))], [])
  )) AS part
  FROM (${points})
)
GROUP BY step_ms, labels, part.1 ORDER BY labels, step_ms LIMIT ${source.limit}`;
}

/**
 * The same of exponential histograms, one row per scale: {step_ms, labels, scale, zeros, threshold, positive, negative},
 * the last two as [indices, counts].
 */
export function exponentialStatement(source: SeriesSource): string {
  const indices = (offset: string, counts: string) =>
    `arrayMap(i -> toInt64(${offset} + i), range(length(${counts})))`;
  const columns = [
    'toFloat64(count) AS amount',
    `(scale, toFloat64(zero_count), zero_threshold,
      ${indices('positive_offset', 'positive_bucket_counts')}, arrayMap(x -> toFloat64(x), positive_bucket_counts),
      ${indices('negative_offset', 'negative_bucket_counts')}, arrayMap(x -> toFloat64(x), negative_bucket_counts)) AS shape`,
  ];
  const points = pointsWithChange(source, columns, ['amount', 'shape']);
  const inverse = 'arrayMap(x -> -x, shape_before.N)';
  const before = `(shape_before.1, -shape_before.2, shape_before.3, shape_before.4, ${inverse.replace('N', '5')},
      shape_before.6, ${inverse.replace('N', '7')})`;
  return `SELECT step_ms, labels, part.1 AS scale, sum(part.2) AS zeros, max(part.3) AS threshold,
  sumMap(part.4, part.5) AS positive, sumMap(part.6, part.7) AS negative
FROM (
  SELECT step_ms, labels, arrayJoin(arrayConcat([shape], if(change = 'difference', [${before}], []))) AS part
  FROM (${points})
)
GROUP BY step_ms, labels, scale ORDER BY labels, step_ms LIMIT ${source.limit}`;
}

const step = ({ stepMs }: SeriesSource) => `intDiv(toUnixTimestamp64Milli(timestamp), ${stepMs}) * ${stepMs}`;

/**
 * The points within the range that say how much happened, with `change`:
 * - `whole`: the point itself is what happened: it is a delta, or the first after a reset (its amount fell, or it
 *   began after the point before it), or its series began within what was read
 * - `difference`: what happened is the difference to the point before, `<column>_before`
 * A first point whose series began earlier says nothing of when its amount happened, and is left out. So is one whose
 * start is its own time, which is how OTLP says that the start is unknown.
 *
 * @param columns with aliases, among them `amount`
 * @param before the aliases that are wanted of the point before, too
 */
function pointsWithChange(source: SeriesSource, columns: string[], before: string[]): string {
  const { where, range, labels } = source;
  const readFromNs = range.fromNs > LOOK_BACK_NS ? range.fromNs - LOOK_BACK_NS : 0n;
  const readFrom = where.bindTime(readFromNs);
  const from = where.bindTime(range.fromNs);
  where.within({ fromNs: readFromNs, toNs: range.toNs });
  const lags = before.map((column) => `lagInFrame(${column}) OVER series AS ${column}_before`);
  return `SELECT *, multiIf(
      temporality = 'DELTA', 'whole',
      nth = 1, if(start_timestamp >= ${readFrom} AND start_timestamp < timestamp, 'whole', 'unknown'),
      amount < amount_before OR (start_timestamp > timestamp_before AND start_timestamp < timestamp), 'whole',
      'difference'
    ) AS change
  FROM (
    SELECT timestamp, start_timestamp, aggregation_temporality AS temporality, ${step(source)} AS step_ms,
      ${labels} AS labels, series_id, ${columns.join(', ')}, row_number() OVER series AS nth,
      lagInFrame(timestamp) OVER series AS timestamp_before, ${lags.join(', ')}
    FROM ${TELEMETRY_TABLES.metrics} WHERE ${where}
    WINDOW series AS (PARTITION BY series_id, temporality ORDER BY timestamp
      ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW)
  ) WHERE timestamp >= ${from} AND change != 'unknown'`;
}
