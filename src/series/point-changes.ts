import { TELEMETRY_TABLES } from '../store/statement.js';

/**
 * How long before a point the one is looked for that its change is counted from; a series that was silent for longer begins anew. It must
 * not depend on what is asked, else a rollup could not have the same answer as the raw points.
 */
export const LOOK_BACK_MS = 3_600_000;
/** A series that begins anew counts from zero when its start time is no longer ago than this; SDKs send every minute unless told otherwise. */
const BEGAN_SECONDS = 600;

/** Points that count: those that say "no recorded value" (flag 1) do not, nor do numbers without a number. */
export const RECORDED =
  "bitAnd(flags, 1) = 0 AND (value_type != 'none' OR metric_type NOT IN ('gauge', 'sum'))";

/** What is wanted of points, and of the points before them. */
export interface ChangeColumns {
  /** SQL with aliases, among them `amount`, by whose fall a reset is seen. */
  columns: string[];
  /** The aliases that are wanted of the point before, too, as `<alias>_before`. */
  before: string[];
}

/**
 * SQL of points with `change`, which says how much happened:
 * - `whole`: the point itself is what happened: it is a delta, or the first after a reset (its amount fell, or it began after the point
 *   before it), or the first of its series, which began shortly before
 * - `difference`: what happened is the difference to the point before
 * - `unknown`: the first of a series that began earlier, which says nothing of when its amount happened. So does one whose start is its
 *   own time, which is how OTLP says that the start is unknown.
 *
 * Of points of one series and time, the larger follows the smaller: a copy is no change.
 *
 * @param where of the points to read, which must reach `LOOK_BACK_MS` before those that are wanted
 */
export function pointsWithChange(where: string, { columns, before }: ChangeColumns): string {
  const lags = before.map((column) => `lagInFrame(${column}) OVER series AS ${column}_before`);
  return `SELECT *, multiIf(
    temporality = 'DELTA', 'whole',
    nth = 1 OR timestamp_before < timestamp - toIntervalMillisecond(${LOOK_BACK_MS}),
      if(start_timestamp >= timestamp - toIntervalSecond(${BEGAN_SECONDS}) AND start_timestamp < timestamp, 'whole', 'unknown'),
    amount < amount_before OR (start_timestamp > timestamp_before AND start_timestamp < timestamp), 'whole',
    'difference'
  ) AS change
FROM (
  SELECT timestamp, start_timestamp, aggregation_temporality AS temporality, ${columns.join(', ')},
    row_number() OVER series AS nth, lagInFrame(timestamp) OVER series AS timestamp_before, ${lags.join(', ')}
  FROM ${TELEMETRY_TABLES.metrics} WHERE ${where} AND ${RECORDED}
  WINDOW series AS (PARTITION BY metric_name, service_name, series_id, metric_type, aggregation_temporality
    ORDER BY timestamp, amount ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW)
)`;
}

/** What happened, of a column that has a `_before`: NULL when it is not known. */
export const changeOf = (column: string) =>
  `multiIf(change = 'difference', ${column} - ${column}_before, change = 'whole', ${column}, NULL)`;

/** Of histograms and summaries: how much was observed. */
export const OBSERVED: ChangeColumns = {
  columns: ['toFloat64(count) AS amount', 'sum AS total', 'min AS least', 'max AS most'],
  before: ['amount', 'total'],
};

/** A set of bucket counts as rollups keep it, and how sets are added up. */
export interface BucketSets {
  /** Column of the rollup. */
  column: 'explicit' | 'exponential';
  type: string;
  points: ChangeColumns;
  /** SQL of the sets of a point with change, signed: Array(type). */
  ofPoint: string;
  /** SQL of the part of a set `part` by which sets go together. */
  key: string;
  /** Aggregates that with the key (alias `bucket_key`) make the sum of sets `part`. */
  sum: string;
}

export const EXPLICIT: BucketSets = {
  column: 'explicit',
  type: 'Tuple(bounds Array(Float64), counts Array(Float64))',
  points: {
    columns: ['explicit_bounds AS bounds', 'bucket_counts AS counts'],
    before: ['bounds', 'counts'],
  },
  ofPoint: `if(change = 'unknown', [], arrayConcat([(bounds, arrayMap(x -> toFloat64(x), counts))],
    if(change = 'difference', [(bounds_before, arrayMap(x -> -toFloat64(x), counts_before))], [])))`,
  key: 'tupleElement(part, 1)',
  sum: '(bucket_key, sumForEach(tupleElement(part, 2)))',
};

const indices = (offset: string, counts: string) =>
  `arrayMap(i -> toInt64(${offset} + i), range(length(${counts})))`;
const exponentialSet = (suffix: string, sign: string) => {
  const side = (name: string) =>
    `(${indices(`${name}_offset${suffix}`, `${name}_counts${suffix}`)}, arrayMap(x -> ${sign}toFloat64(x), ${name}_counts${suffix}))`;
  return `(scaled${suffix}, ${sign}toFloat64(zeros${suffix}), threshold${suffix}, ${side('positive')}, ${side('negative')})`;
};

export const EXPONENTIAL: BucketSets = {
  column: 'exponential',
  type: 'Tuple(scale Int32, zeros Float64, threshold Float64, positive Tuple(Array(Int64), Array(Float64)), negative Tuple(Array(Int64), Array(Float64)))',
  points: {
    columns: [
      'scale AS scaled',
      'zero_count AS zeros',
      'zero_threshold AS threshold',
      'positive_offset',
      'positive_bucket_counts AS positive_counts',
      'negative_offset',
      'negative_bucket_counts AS negative_counts',
    ],
    before: [
      'scaled',
      'zeros',
      'threshold',
      'positive_offset',
      'positive_counts',
      'negative_offset',
      'negative_counts',
    ],
  },
  ofPoint: `if(change = 'unknown', [], arrayConcat([${exponentialSet('', '')}],
    if(change = 'difference', [${exponentialSet('_before', '-')}], [])))`,
  key: 'tupleElement(part, 1)',
  sum: `(bucket_key, sum(tupleElement(part, 2)), max(tupleElement(part, 3)),
    sumMap(tupleElement(tupleElement(part, 4), 1), tupleElement(tupleElement(part, 4), 2)),
    sumMap(tupleElement(tupleElement(part, 5), 1), tupleElement(tupleElement(part, 5), 2)))`,
};
