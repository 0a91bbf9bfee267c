import type { ClickHouse } from '../connections/clickhouse.js';
import type { Scope } from '../edge/scope.js';
import type { TimeRange } from '../http/time.js';
import { metricsListed, metricsSeen } from '../store/metric-list.js';
import { type Page, type PageRequest, type Place, pageAt, placeOf } from '../store/page.js';
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
  /** 1: of some name, on this page or another, the list alone does not know. */
  has_cuts: number;
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
  const ask = (withPoints: boolean) => {
    const where = new Where(scope);
    const statement = namesStatement(where, question, place, withPoints);
    return asking.rows<NameRow>(statement, where, undefined, withPoints ? undefined : { max_threads: 1 });
  };
  let read = await ask(false);
  if (read.some(({ has_cuts }) => has_cuts)) read = await ask(true);
  const rows = read.slice(0, place.limit);
  const end = rows[rows.length - 1];
  const key = end && [end.metric_name, end.service_name, end.metric_type, end.unit];
  const last = read.length > place.limit ? { key, copies: 0 } : undefined;
  const total = place.cursor?.total ?? Number(read[0]?.names ?? 0);
  const data = rows.map(({ seen_at, names: _, has_cuts: __, ...name }) => ({
    ...name,
    last_seen: nanosToIso(seen_at),
  }));
  return pageAt(place, data, total, last, asking.cost.meta());
}

function namesStatement(
  where: Where,
  question: MetricNameQuestion,
  place: Place,
  withPoints: boolean,
): string {
  if (question.services.length > 0)
    where.and(`service_name IN ${where.bind('Array(String)', question.services)}`);
  if (question.prefix !== '') where.and(`startsWith(metric_name, ${where.bind('String', question.prefix)})`);
  const after = place.cursor ? place.cursor.key.map((part) => where.bind('String', part)).join(', ') : '';
  const columns = 'service_name, metric_name, metric_type, unit';
  const rest = after === '' ? '' : ` AND (${KEY}) > (${after})`;
  // Points lie within the range.
  const { from, isCut } = withPoints
    ? { from: `${metricsSeen(where, String(where), place.range, columns)} WHERE true`, isCut: '0' }
    : metricsListed(where, String(where), place.range);
  return `SELECT ${columns}, reinterpretAsUInt64(max(last_seen)) AS seen_at, count() OVER () AS names,
  max(max(${isCut})) OVER () AS has_cuts
FROM ${from}${rest}
GROUP BY metric_name, service_name, metric_type, unit ORDER BY ${KEY}
LIMIT ${where.bind('UInt32', place.limit + 1)} OFFSET ${where.bind('UInt32', place.offset)}`;
}
