import type { ClickHouse } from '../connections/clickhouse.js';
import type { Scope } from '../edge/scope.js';
import type { TimeRange } from '../http/time.js';
import { type LogQuestion, restrictLogs } from '../store/logs.js';
import { Asking, attributeText, TELEMETRY_TABLES, Where } from '../store/statement.js';

/** Which records are counted, and what they are grouped by: attribute names, `resource.<key>` or `service_name`. */
export interface LogCountQuestion extends Omit<LogQuestion, 'order'> {
  groupBy: string[];
}

/** A number of one group; its labels are in the order of `groupBy`. */
export interface GroupValue {
  labels: string[];
  value: number;
}

/**
 * How many records of each group there are; groups without any are left out.
 *
 * @param limit rows at most, one per group
 * @throws AppError QUERY_TOO_EXPENSIVE, UNAVAILABLE
 */
export async function countLogs(
  scope: Scope,
  clickhouse: ClickHouse,
  question: LogCountQuestion,
  range: TimeRange,
  limit: number,
  signal?: AbortSignal,
): Promise<GroupValue[]> {
  const where = new Where(scope).withinSteps(range);
  restrictLogs(where, question);
  const labels = question.groupBy.map((key) => attributeText(where, key)).join(', ');
  const rows = await new Asking(clickhouse, signal).rows<{ labels: string[]; records: string }>(
    `SELECT CAST([${labels}], 'Array(String)') AS labels, toString(count()) AS records
FROM ${TELEMETRY_TABLES.logs} WHERE ${where} GROUP BY labels ORDER BY labels LIMIT ${where.bind('UInt32', limit)}`,
    where,
  );
  return rows.map((row) => ({ labels: row.labels, value: Number(row.records) }));
}
