import type { ClickHouse } from '../connections/clickhouse.js';
import type { Scope } from '../edge/scope.js';
import type { TimeRange } from '../http/time.js';
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
  const where = new Where(scope).within(place.range);
  const after = place.cursor ? `WHERE service_name > ${where.bind('String', place.cursor.key[0])}` : '';
  const read = await asking.rows<ServiceRow>(
    `SELECT service_name, toString(reinterpretAsUInt64(max(last))) AS seen, toString(sum(points)) AS metrics,
  toString(max(names)) AS names, toString(sum(spans)) AS spans, toString(sum(records)) AS logs,
  toString(sum(failed)) AS errors, toString(count() OVER ()) AS services
FROM (${parts(where)}) ${after}
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

function parts(where: Where): string {
  const part = (table: string, figures: string) =>
    `SELECT service_name, max(timestamp) AS last, ${figures} FROM ${table} WHERE ${where} GROUP BY service_name`;
  return [
    part(
      TELEMETRY_TABLES.metrics,
      'count() AS points, uniqExact(metric_name) AS names, 0 AS spans, 0 AS records, 0 AS failed',
    ),
    part(TELEMETRY_TABLES.traces, `0, 0, count(), 0, countIf(status_code = 'ERROR')`),
    part(TELEMETRY_TABLES.logs, '0, 0, 0, count(), 0'),
  ].join('\nUNION ALL ');
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
