import type { ClickHouse } from '../connections/clickhouse.js';
import type { Scope } from '../edge/scope.js';
import type { TimeRange } from '../http/time.js';
import { Asking, attributeText, TELEMETRY_TABLES, Where } from '../store/statement.js';
import { restrictSpans, type TraceQuestion } from '../store/traces.js';
import type { GroupValue } from './log-counts.js';

/** `error_rate`: spans with status ERROR / spans. Durations are milliseconds. */
export const SPAN_FIGURES = ['count', 'error_rate', 'avg', 'max', 'p50', 'p75', 'p90', 'p95', 'p99'] as const;
export type SpanFigure = (typeof SPAN_FIGURES)[number];

/** Which spans, and what they are grouped by: attribute names, `resource.<key>` or `service_name`. */
export interface SpanQuestion extends Omit<TraceQuestion, 'order'> {
  figure: SpanFigure;
  groupBy: string[];
}

/**
 * A figure of the spans of each group that start within the range; groups without any are left out.
 *
 * @param limit rows at most, one per group
 * @throws AppError QUERY_TOO_EXPENSIVE, UNAVAILABLE
 */
export async function measureSpans(
  scope: Scope,
  clickhouse: ClickHouse,
  question: SpanQuestion,
  range: TimeRange,
  limit: number,
  signal?: AbortSignal,
): Promise<GroupValue[]> {
  const where = new Where(scope).withinSteps(range);
  restrictSpans(where, question);
  const labels = question.groupBy.map((key) => attributeText(where, key)).join(', ');
  const rows = await new Asking(clickhouse, signal).rows<{ labels: string[]; value: string }>(
    `SELECT CAST([${labels}], 'Array(String)') AS labels, toString(${figureOf(question.figure)}) AS value
FROM ${TELEMETRY_TABLES.traces} WHERE ${where} GROUP BY labels ORDER BY labels LIMIT ${where.bind('UInt32', limit)}`,
    where,
  );
  return rows.map((row) => ({ labels: row.labels, value: Number(row.value) }));
}

function figureOf(figure: SpanFigure): string {
  switch (figure) {
    case 'count':
      return 'count()';
    case 'error_rate':
      return `countIf(status_code = 'ERROR') / count()`;
    case 'avg':
    case 'max':
      return `${figure}(duration_nano) / 1e6`;
    default:
      return `quantileExactInclusive(${Number(figure.slice(1)) / 100})(duration_nano) / 1e6`;
  }
}
