import type { ClickHouse } from '../connections/clickhouse.js';
import type { Scope } from '../edge/scope.js';
import type { TimeRange } from '../http/time.js';
import { metricsSeen, namesCut } from './metric-list.js';
import { type Page, type PageRequest, pageAt, placeOf } from './page.js';
import { Asking, TELEMETRY_TABLES, Where } from './statement.js';
import { nanosToIso } from './values.js';

/** What one service sent in the time range. */
export interface Service {
  service_name: string;
  last_seen: string;
  /** Data points. */
  metric_count: number;
  /** Names of metrics. */
  unique_metrics: number;
  span_count: number;
  log_count: number;
  error_count: number;
  /** Spans with status ERROR / spans; 0 without spans. */
  error_rate: number;
}

interface ServiceRow {
  service_name: string;
  seen: string;
  metrics: string;
  names: string;
  spans: string;
  logs: string;
  errors: string;
  services: string;
}

/** Services in the order of their names. The total is exact: the statement groups all of them for any page. */
export async function listServices(
  scope: Scope,
  clickhouse: ClickHouse,
  range: TimeRange,
  page: PageRequest,
  signal?: AbortSignal,
): Promise<Page<Service>> {
  const place = placeOf(scope, 'services', null, range, page, 's');
  const asking = new Asking(clickhouse, signal);
  const where = new Where(scope);
  const { cuts, parts } = sources(where, place.range);
  const after = place.cursor ? `WHERE service_name > ${where.bind('String', place.cursor.key[0])}` : '';
  const read = await asking.rows<ServiceRow>(
    `WITH ${cuts}
SELECT service_name, toString(reinterpretAsUInt64(max(last))) AS seen, toString(sum(points)) AS metrics,
  toString(max(names)) AS names, toString(sum(spans)) AS spans, toString(sum(records)) AS logs,
  toString(sum(failed)) AS errors, toString(count() OVER ()) AS services
FROM (${parts}) ${after}
GROUP BY service_name ORDER BY service_name
LIMIT ${where.bind('UInt32', place.limit + 1)} OFFSET ${where.bind('UInt32', place.offset)}`,
    where,
  );
  const rows = read.slice(0, place.limit);
  const more = read.length > place.limit;
  const last = more ? { key: [rows[rows.length - 1].service_name], copies: 0 } : undefined;
  const total = place.cursor?.total ?? Number(read[0]?.services ?? 0);
  return pageAt(place, rows.map(serviceOf), total, last, asking.cost.meta());
}

const STEP_NS = 300_000_000_000n;

/**
 * `mv_service_list` has the sums of five minutes each. What it cannot know is how much of a sum lies within a range that
 * begins or ends amid its five minutes: only where that is so (`cut_begin`, `cut_end`), those minutes are counted in the
 * tables themselves. A row whose first and last items are both within the range is within it whole, wherever the range ends.
 * Names of metrics come from `mv_metric_list` in the same way.
 */
function sources(where: Where, range: TimeRange): { cuts: string; parts: string } {
  const tenant = String(where);
  const [from, to] = [where.bindTime(range.fromNs), where.bindTime(range.toNs)];
  const firstStep = where.bindStep('toStartOfFiveMinutes', range.fromNs);
  const lastStep = where.bindStep('toStartOfFiveMinutes', range.toNs);
  const cut = (step: string, time: string) =>
    `(SELECT count() > 0 FROM mv_service_list WHERE ${tenant} AND step = ${step}
    AND first_seen < ${time} AND last_seen >= ${time})`;
  const cuts = [
    `${cut(firstStep, from)} AS cut_begin`,
    `${cut(lastStep, to)} AS cut_end`,
    `${namesCut(where, tenant, range)} AS cut_names`,
  ].join(',\n  ');

  const firstEnds = where.bindTime(range.fromNs - (range.fromNs % STEP_NS) + STEP_NS);
  const lastBegins = where.bindTime(range.toNs - (range.toNs % STEP_NS));
  const raw = (table: string, figures: string, isKeyedBySteps = true) => {
    const isIn = (step: string) => (isKeyedBySteps ? ` AND toStartOfFiveMinutes(timestamp) = ${step}` : '');
    return `SELECT service_name, max(timestamp) AS last, ${figures} FROM ${table}
WHERE ${tenant} AND timestamp >= ${from} AND timestamp < ${to} AND (
  (cut_begin AND timestamp < ${firstEnds}${isIn(firstStep)}) OR (cut_end AND timestamp >= ${lastBegins}${isIn(lastStep)})
) GROUP BY service_name`;
  };
  const listed = `SELECT service_name, max(last_seen) AS last, sum(metric_count) AS points, toUInt64(0) AS names,
  sum(span_count) AS spans, sum(log_count) AS records, sum(error_count) AS failed FROM mv_service_list
WHERE ${tenant} AND step >= ${firstStep} AND step <= ${lastStep} AND first_seen >= ${from} AND last_seen < ${to}
  AND NOT (cut_begin AND step = ${firstStep}) AND NOT (cut_end AND step = ${lastStep}) GROUP BY service_name`;
  const parts = [
    listed,
    raw(TELEMETRY_TABLES.metrics, 'count(), 0, 0, 0, 0', false),
    raw(TELEMETRY_TABLES.traces, `0, 0, count(), 0, countIf(status_code = 'ERROR')`),
    raw(TELEMETRY_TABLES.logs, '0, 0, 0, count(), 0'),
    `SELECT service_name, ${from}, 0, uniqExact(metric_name), 0, 0, 0 FROM (
  ${metricsSeen(where, tenant, range, 'service_name, metric_name', 'cut_names')}
) GROUP BY service_name`,
  ];
  return { cuts, parts: parts.join('\nUNION ALL ') };
}

function serviceOf(row: ServiceRow): Service {
  const spans = Number(row.spans);
  const errors = Number(row.errors);
  return {
    service_name: row.service_name,
    last_seen: nanosToIso(row.seen),
    metric_count: Number(row.metrics),
    unique_metrics: Number(row.names),
    span_count: spans,
    log_count: Number(row.logs),
    error_count: errors,
    error_rate: spans === 0 ? 0 : errors / spans,
  };
}
