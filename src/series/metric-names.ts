import type { ClickHouse } from '../connections/clickhouse.js';
import type { Scope } from '../edge/scope.js';
import type { TimeRange } from '../http/time.js';
import { metricsSeen, namesCut } from '../store/metric-list.js';
import { type Page, type PageRequest, pageAt, placeOf } from '../store/page.js';
import { Asking, Where } from '../store/statement.js';
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
  seen_at: string;
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
  const where = new Where(scope);
  if (question.services.length > 0)
    where.and(`service_name IN ${where.bind('Array(String)', question.services)}`);
  if (question.prefix !== '') where.and(`startsWith(metric_name, ${where.bind('String', question.prefix)})`);
  const asked = String(where);
  const after = place.cursor ? place.cursor.key.map((part) => where.bind('String', part)).join(', ') : '';
  const read = await asking.rows<NameRow>(
    `WITH ${namesCut(where, String(new Where(scope)), place.range)} AS cut_names
SELECT service_name, metric_name, metric_type, unit,
  toString(reinterpretAsUInt64(max(seen))) AS seen_at, toString(count() OVER ()) AS names
FROM (
  ${metricsSeen(where, asked, place.range, 'service_name, metric_name, metric_type, unit', 'cut_names')}
)${after === '' ? '' : ` WHERE (${KEY}) > (${after})`}
GROUP BY metric_name, service_name, metric_type, unit ORDER BY ${KEY}
LIMIT ${where.bind('UInt32', place.limit + 1)} OFFSET ${where.bind('UInt32', place.offset)}`,
    where,
  );
  const rows = read.slice(0, place.limit);
  const end = rows[rows.length - 1];
  const key = end && [end.metric_name, end.service_name, end.metric_type, end.unit];
  const last = read.length > place.limit ? { key, copies: 0 } : undefined;
  const total = place.cursor?.total ?? Number(read[0]?.names ?? 0);
  const data = rows.map(({ seen_at, names: _, ...name }) => ({ ...name, last_seen: nanosToIso(seen_at) }));
  return pageAt(place, data, total, last, asking.cost.meta());
}
