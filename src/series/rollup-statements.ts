import { bindParameters } from '../connections/clickhouse-statement.js';
import type { Scope } from '../edge/scope.js';
import type { TimeRange } from '../http/time.js';
import { TELEMETRY_TABLES, Where } from '../store/statement.js';
import {
  type BucketSets,
  changeOf,
  EXPLICIT,
  EXPONENTIAL,
  LOOK_BACK_MS,
  OBSERVED,
  pointsWithChange,
  RECORDED,
} from './point-changes.js';

/** Kinds of points that are rolled up by a statement each. */
export const ROLLED_KINDS = {
  /** Their values are all that counts. */
  level: "(metric_type = 'gauge' OR (metric_type = 'sum' AND NOT is_monotonic))",
  /** How much they grow, too. */
  counter: "(metric_type = 'sum' AND is_monotonic)",
  summary: "metric_type = 'summary'",
  histogram: "metric_type = 'histogram'",
  exponential_histogram: "metric_type = 'exponential_histogram'",
} as const;
export type RolledKind = keyof typeof ROLLED_KINDS;

/** What of the points one statement rolls up. */
export interface Batch {
  scope: Scope;
  /** Whole hours, or one whole day. */
  range: TimeRange;
  kind: RolledKind;
  /** One of `slices` parts of the series, so that a statement's memory is bounded. */
  slice: number;
  slices: number;
  /** Of the rows it writes; of rows for the same series and hour the latest counts. */
  version: number;
}

/** One thread, so that a long catch-up leaves the others to ingest and questions; what does not fit in memory is spilled. */
const SETTINGS = `max_threads = 1, max_insert_threads = 1, max_memory_usage = ${400 * 1024 * 1024},
  max_bytes_before_external_group_by = ${100 * 1024 * 1024}, max_bytes_before_external_sort = ${100 * 1024 * 1024},
  max_block_size = 16384`;

const KEY =
  'metric_name, metric_type, unit, aggregation_temporality, is_monotonic, service_name, series_id' as const;
const COLUMNS = `organization_id, workspace_id, tenant_id, timestamp, ${KEY}, attributes, resource_attributes,
  points, count, sum, summed, min, max, last, last_timestamp, increase, explicit, exponential, version`;
/** Columns of a point that are the same in its whole series. `temporality` is `aggregation_temporality`. */
const OF_SERIES = `metric_name, metric_type, unit, is_monotonic, service_name, series_id, attributes, resource_attributes`;
const IDENTITY = 'any(attributes), any(resource_attributes)';
const NO_LAST = "0, toDateTime64(0, 9, 'UTC'), NULL";
const HOUR = 'toStartOfHour(timestamp) AS begin';

/** SQL that rolls raw points up into rows of metrics_hourly. */
export function hourlyStatement(batch: Batch): string {
  const where = sliceOf(batch);
  const lookBackNs = BigInt(LOOK_BACK_MS) * 1_000_000n;
  const { fromNs, toNs } = batch.range;
  const within = `timestamp >= ${where.bindTime(fromNs)} AND timestamp < ${where.bindTime(toNs)}`;
  const readFrom = where.bindTime(fromNs > lookBackNs ? fromNs - lookBackNs : 0n);
  const read = `${where} AND timestamp >= ${readFrom} AND timestamp < ${where.bindTime(toNs)}`;
  const select = () => {
    switch (batch.kind) {
      case 'level':
        return levels(`${TELEMETRY_TABLES.metrics} WHERE ${where} AND ${within} AND ${RECORDED}`);
      case 'counter':
        return counters(read, within);
      case 'summary':
        return summaries(read, within);
      case 'histogram':
        return histogramsOf(EXPLICIT, read, within);
      default:
        return histogramsOf(EXPONENTIAL, read, within);
    }
  };
  return insert('metrics_hourly', batch, select(), where);
}

/** SQL that adds a day's rows of metrics_hourly up to rows of metrics_daily. */
export function dailyStatement(batch: Batch): string {
  const where = sliceOf(batch);
  const seconds = (ns: bigint) => `toDateTime(${where.bind('UInt32', String(ns / 1_000_000_000n))}, 'UTC')`;
  const { fromNs, toNs } = batch.range;
  const hours = `metrics_hourly FINAL WHERE ${where} AND timestamp >= ${seconds(fromNs)} AND timestamp < ${seconds(toNs)}`;
  const day = 'toDateTime(toStartOfDay(timestamp)) AS begin';
  const isNumber = batch.kind === 'level' || batch.kind === 'counter' || batch.kind === 'summary';
  const select = isNumber
    ? `SELECT ${day}, ${KEY}, ${IDENTITY}, sum(points), sum(count), sum(sum), sum(summed), min(min), max(max),
  argMax(last, (last_timestamp, last)), max(last_timestamp), sum(increase), [], []
FROM ${hours} GROUP BY begin, ${KEY}`
    : addedUp(
        batch.kind === 'histogram' ? EXPLICIT : EXPONENTIAL,
        `SELECT ${day}, ${KEY}, attributes, resource_attributes, points AS of_points, count AS observed, sum AS total,
  summed AS in_total, min AS least, max AS most, ${batch.kind === 'histogram' ? 'explicit' : 'exponential'} AS sets FROM ${hours}`,
      );
  return insert('metrics_daily', batch, select, where);
}

function sliceOf({ scope, kind, slice, slices }: Batch): Where {
  const where = new Where(scope).and(ROLLED_KINDS[kind]);
  if (slices === 1) return where;
  return where.and(`series_id % ${where.bind('UInt32', slices)} = ${where.bind('UInt32', slice)}`);
}

function insert(table: string, { scope, version }: Batch, select: string, where: Where): string {
  const ids = [scope.organizationId, scope.workspaceId, scope.tenantId].map((id) => where.bind('String', id));
  return bindParameters(
    `INSERT INTO ${table} (${COLUMNS}) SELECT ${ids.join(', ')}, *, ${where.bind('UInt64', String(version))} FROM (
${select}
) SETTINGS ${SETTINGS}`,
    where.params,
  );
}

const VALUES = `count(), count(), sum(value), count(), min(value), max(value), argMax(value, (timestamp, value)), max(timestamp)`;

const levels = (points: string) =>
  `SELECT ${HOUR}, ${KEY}, ${IDENTITY}, ${VALUES}, NULL, [], [] FROM ${points} GROUP BY begin, ${KEY}`;

const counters = (read: string, within: string) =>
  `SELECT ${HOUR}, ${key()}, ${IDENTITY}, ${VALUES}, sum(${changeOf('amount')}), [], []
FROM (${pointsWithChange(read, { columns: [OF_SERIES, 'value', 'value AS amount'], before: ['amount'] })})
WHERE ${within} GROUP BY begin, ${key()}`;

/** The key, of points with change. */
const key = () => KEY.replace('aggregation_temporality', 'temporality');

/** Points of what was observed: how much of it, and the sets if any. */
function observed(read: string, within: string, sets: BucketSets | undefined): string {
  const columns = [OF_SERIES, ...OBSERVED.columns, ...(sets?.points.columns ?? [])];
  const before = [...OBSERVED.before, ...(sets?.points.before ?? [])];
  const known = (column: string) => `if(change = 'unknown', NULL, ${column})`;
  return `SELECT ${HOUR}, ${key()}, attributes, resource_attributes, toUInt64(1) AS of_points,
  ${changeOf('amount')} AS observed, ${changeOf('total')} AS totalled,
  if(totalled IS NULL, 0, observed) AS in_total, ${known('least')} AS lowest, ${known('most')} AS highest${sets ? `, ${sets.ofPoint} AS sets` : ''}
FROM (${pointsWithChange(read, { columns, before })}) WHERE ${within}`;
}

const summaries = (read: string, within: string) =>
  `SELECT begin, ${key()}, ${IDENTITY}, sum(of_points), sum(observed), sum(totalled), ifNull(sum(in_total), 0), min(lowest), max(highest),
  ${NO_LAST}, [], []
FROM (${observed(read, within, undefined)}) GROUP BY begin, ${key()}`;

const histogramsOf = (sets: BucketSets, read: string, within: string) =>
  addedUp(
    sets,
    `SELECT begin, metric_name, metric_type, unit, temporality AS aggregation_temporality, is_monotonic, service_name, series_id,
  attributes, resource_attributes, of_points, observed, totalled AS total, in_total, lowest AS least, highest AS most, sets
FROM (${observed(read, within, sets)})`,
  );

/**
 * One row per series and hour (or day). Each row is taken apart into its measures and its sets, because sets are added up by their bounds
 * or scale; `of_row` tells the measures' part.
 */
function addedUp({ column, type, key: setKey, sum }: BucketSets, rows: string): string {
  const added = `SELECT begin, ${KEY}, any(attributes) AS of_series, any(resource_attributes) AS of_resource, of_row,
    sum(of_points) AS points_, sum(observed) AS observed_, sum(total) AS total_, sum(in_total) AS in_total_, min(least) AS least_,
    max(most) AS most_, ${setKey} AS bucket_key, ${sum} AS set
  FROM (
    SELECT *, tupleElement(exploded, 1) AS of_row, tupleElement(exploded, 2) AS part FROM (
      SELECT *, arrayJoin(arrayConcat([(true, defaultValueOfTypeName('${type}'))], arrayMap(x -> (false, x), sets))) AS exploded
      FROM (${rows})
    )
  ) GROUP BY begin, ${KEY}, of_row, bucket_key`;
  // In order, so that the same points give the same row.
  const merged = `CAST(arraySort(x -> tupleElement(x, 1), groupArrayIf(set, NOT of_row)), 'Array(${type})')`;
  return `SELECT begin, ${KEY}, any(of_series), any(of_resource), sumIf(points_, of_row), sumIf(observed_, of_row), sumIf(total_, of_row),
  ifNull(sumIf(in_total_, of_row), 0), minIf(least_, of_row), maxIf(most_, of_row), ${NO_LAST},
  ${column === 'explicit' ? `${merged}, []` : `[], ${merged}`}
FROM (
  ${added}
) GROUP BY begin, ${KEY}`;
}
