import type { ClickHouse } from '../connections/clickhouse.js';
import type { Scope } from '../edge/scope.js';
import type { TimeRange } from '../http/time.js';
import { type Page, type PageRequest, pageAt, placeOf } from '../store/page.js';
import { Asking, TELEMETRY_TABLES, Where } from '../store/statement.js';
import { nanosToIso } from '../store/values.js';
import type { MetricType } from './metric-points.js';

export interface MetricNameQuestion {
  services: string[];
  /** What the name begins with, case-sensitive; '' for all. */
  prefix: string;
}

export interface MetricName {
  service_name: string;
  metric_name: string;
  metric_type: MetricType;
  unit: string;
  last_seen: string;
}

interface NameRow extends Omit<MetricName, 'last_seen'> {
  seen: string;
  names: string;
}

const KEY = 'metric_name, service_name, toString(metric_type), unit';

/** One row per metric, service, type and unit, in this order. The total is exact, as for services. */
export async function listMetricNames(
  scope: Scope,
  clickhouse: ClickHouse,
  question: MetricNameQuestion,
  range: TimeRange,
  page: PageRequest,
  signal?: AbortSignal,
): Promise<Page<MetricName>> {
  const place = placeOf(scope, 'metrics', question, range, page, 'ssss');
  const asking = new Asking(clickhouse, signal);
  const where = new Where(scope).within(place.range);
  if (question.services.length > 0)
    where.and(`service_name IN ${where.bind('Array(String)', question.services)}`);
  if (question.prefix !== '') where.and(`startsWith(metric_name, ${where.bind('String', question.prefix)})`);
  const after = place.cursor ? place.cursor.key.map((part) => where.bind('String', part)).join(', ') : '';
  if (after !== '') where.and(`(${KEY}) > (${after})`);
  const read = await asking.rows<NameRow>(
    `SELECT service_name, metric_name, metric_type, unit,
  toString(reinterpretAsUInt64(max(timestamp))) AS seen, toString(count() OVER ()) AS names
FROM ${TELEMETRY_TABLES.metrics} WHERE ${where}
GROUP BY metric_name, service_name, metric_type, unit ORDER BY ${KEY}
LIMIT ${where.bind('UInt32', place.limit + 1)} OFFSET ${where.bind('UInt32', place.offset)}`,
    where,
  );
  const rows = read.slice(0, place.limit);
  const end = rows[rows.length - 1];
  const key = end && [end.metric_name, end.service_name, end.metric_type, end.unit];
  const last = read.length > place.limit ? { key, copies: 0 } : undefined;
  const total = place.cursor?.total ?? Number(read[0]?.names ?? 0);
  const data = rows.map(({ seen, names: _, ...name }) => ({ ...name, last_seen: nanosToIso(seen) }));
  return pageAt(place, data, total, last, asking.cost.meta());
}
