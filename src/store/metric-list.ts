import type { TimeRange } from '../http/time.js';
import { HOUR_NS, TELEMETRY_TABLES, type Where } from './statement.js';

/*
 * `mv_metric_list` has one row per metric, service, type, unit and hour with the time of the last point in it. Of the hours
 * before the range's last one that time is all there is to know: a metric was seen within the range when it is. Of the last
 * hour too, unless something came after the range's end: then the tables themselves are read for that hour.
 */

/** Of a range that ends on an hour, the hour that begins there is no part. */
const lastOf = ({ toNs }: TimeRange) => (toNs > 0n ? toNs - 1n : 0n);

/** The rows of the list that tell of metrics seen within the range, as `FROM … WHERE …` tells them. */
export interface Listed {
  from: string;
  /** Of such a row: the metric was seen after the range, too, so that the list does not know whether within it. */
  isCut: string;
}

/** @param condition the WHERE of list and points alike: the tenant, and what else is asked of their columns */
export function metricsListed(where: Where, condition: string, range: TimeRange): Listed {
  const [from, to] = [where.bindTime(range.fromNs), where.bindTime(range.toNs)];
  return {
    from: `mv_metric_list
WHERE ${condition} AND hour >= ${where.bindStep(HOUR_NS, range.fromNs)} AND hour <= ${where.bindStep(HOUR_NS, lastOf(range))} AND last_seen >= ${from}`,
    isCut: `last_seen >= ${to}`,
  };
}

/**
 * Where there were rows of which the list does not know: metrics seen within the range, several rows of one metric among them, from the list and,
 * for the last hour, from the points. Its columns are `columns` and `last_seen`.
 *
 * @param columns of both, separated by commas
 */
export function metricsSeen(where: Where, condition: string, range: TimeRange, columns: string): string {
  const { from, isCut } = metricsListed(where, condition, range);
  const [fromTime, toTime] = [where.bindTime(range.fromNs), where.bindTime(range.toNs)];
  const lastHour = where.bindTime(range.toNs - (range.toNs % HOUR_NS));
  return `(SELECT ${columns}, last_seen FROM ${from} AND NOT (${isCut})
  UNION ALL
  SELECT ${columns}, timestamp AS last_seen FROM ${TELEMETRY_TABLES.metrics}
  WHERE ${condition} AND timestamp >= ${fromTime} AND timestamp >= ${lastHour} AND timestamp < ${toTime})`;
}
