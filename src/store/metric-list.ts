import type { TimeRange } from '../http/time.js';
import { TELEMETRY_TABLES, type Where } from './statement.js';

/*
 * `mv_metric_list` has one row per metric, service, type, unit and hour with the time of the last point in it. Of the hours
 * before the range's last one that time is all there is to know: a metric was seen within the range when it is. Of the last
 * hour too, unless something came after the range's end: then the tables themselves are read for that hour.
 */

const HOUR_NS = 3_600_000_000_000n;
/** Of a range that ends on an hour, the hour that begins there is no part. */
const lastOf = ({ toNs }: TimeRange) => (toNs > 0n ? toNs - 1n : 0n);

/**
 * Rows of metrics seen within the range, several of one metric among them: `columns`, `seen`, and `is_cut`, which is 1 in rows of metrics that were
 * seen after the range, too, so that the list does not know whether within it.
 *
 * @param condition the WHERE of list and points alike: the tenant, and what else is asked of their columns
 * @param columns of both, separated by commas
 * @param withPoints whether the points of the last hour are read: when there were rows with `is_cut`
 */
export function metricsSeen(
  where: Where,
  condition: string,
  range: TimeRange,
  columns: string,
  withPoints: boolean,
): string {
  const [from, to] = [where.bindTime(range.fromNs), where.bindTime(range.toNs)];
  const lastHour = where.bindTime(range.toNs - (range.toNs % HOUR_NS));
  const listed = `SELECT ${columns}, last_seen AS seen, last_seen >= ${to} AS is_cut FROM mv_metric_list
  WHERE ${condition} AND hour >= ${where.bindStep('toStartOfHour', range.fromNs)} AND hour <= ${where.bindStep('toStartOfHour', lastOf(range))}
    AND last_seen >= ${from}`;
  if (!withPoints) return listed;
  return `${listed} AND last_seen < ${to}
  UNION ALL
  SELECT ${columns}, timestamp AS seen, 0 AS is_cut FROM ${TELEMETRY_TABLES.metrics}
  WHERE ${condition} AND timestamp >= ${from} AND timestamp >= ${lastHour} AND timestamp < ${to}`;
}
