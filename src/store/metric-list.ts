import type { TimeRange } from '../http/time.js';
import { TELEMETRY_TABLES, type Where } from './statement.js';

/*
 * `mv_metric_list` has one row per metric, service, type, unit and hour with the time of the last point in it. Of the hours
 * before the range's last one that time is all there is to know: a metric was seen within the range when it is. Of the last
 * hour too, unless something came after the range's end: then the tables themselves are read for that hour.
 */

const HOUR_NS = 3_600_000_000_000n;

/** A scalar subquery: whether the last hour of the range has to be read from the points. */
export function namesCut(where: Where, tenant: string, range: TimeRange): string {
  return `(SELECT count() > 0 FROM mv_metric_list WHERE ${tenant} AND hour = ${where.bindStep('toStartOfHour', range.toNs)}
    AND last_seen >= ${where.bindTime(range.toNs)})`;
}

/**
 * Rows of metrics seen within the range, several of one metric among them.
 *
 * @param tenant the WHERE of list and points alike: the tenant, and what else is asked of their columns
 * @param columns of both, separated by commas; `seen` is to be `last_seen AS seen`
 * @param cut the name that the statement's WITH has given to `namesCut`
 */
export function metricsSeen(
  where: Where,
  tenant: string,
  range: TimeRange,
  columns: string,
  cut: string,
): string {
  const [from, to] = [where.bindTime(range.fromNs), where.bindTime(range.toNs)];
  const lastHour = where.bindTime(range.toNs - (range.toNs % HOUR_NS));
  return `SELECT ${columns}, last_seen AS seen FROM mv_metric_list
  WHERE ${tenant} AND hour >= ${where.bindStep('toStartOfHour', range.fromNs)} AND hour <= ${where.bindStep('toStartOfHour', range.toNs)}
    AND last_seen >= ${from} AND last_seen < ${to}
  UNION ALL
  SELECT ${columns}, timestamp AS seen FROM ${TELEMETRY_TABLES.metrics}
  WHERE ${tenant} AND ${cut} AND timestamp >= ${from} AND timestamp >= ${lastHour} AND timestamp < ${to}`;
}
