import type { ClickHouse } from '../connections/clickhouse.js';
import type { Scope } from '../edge/scope.js';
import type { TimeRange } from '../http/time.js';
import { metricsListed, metricsSeen } from './metric-list.js';
import { type Page, type PageRequest, pageAt, placeOf } from './page.js';
import { Asking, STEP_NS, TELEMETRY_TABLES, Where } from './statement.js';
import { nanosToIso } from './values.js';
import { stepBegin } from './windows.js';

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

/** Figures of a service in one of the statements; counts are digits. */
interface ServiceRow {
  service_name: string;
  /** Unix nanoseconds of the last item. */
  seen: string;
  metrics: string;
  spans: string;
  logs: string;
  errors: string;
}

interface ListedRow extends ServiceRow {
  /** 1: of the five minutes that the range begins in; 2: of those that it ends in, if others; 0: of those between. */
  place: number;
  /** 1: sums that lie within the range whole; 0: it is not known how much of them does. */
  is_whole: number;
}

interface NameRow {
  service_name: string;
  /** Digits. */
  names: string;
}

const AT_BEGIN = 1;
const AT_END = 2;

/** These statements read so little that a second thread costs more than it helps. */
const SMALL = { max_threads: 1 } as const;

/**
 * Services in the order of their names. The total is exact: all of them are grouped for any page.
 *
 * Answered from the lists alone, unless the range begins or ends amid what they have summed up.
 */
export async function listServices(
  scope: Scope,
  clickhouse: ClickHouse,
  range: TimeRange,
  page: PageRequest,
  signal?: AbortSignal,
): Promise<Page<Service>> {
  const place = placeOf(scope, 'services', null, range, page, 's');
  const asking = new Asking(clickhouse, signal);
  const [rows, names] = await Promise.all([
    countServices(scope, asking, place.range),
    countNames(scope, asking, place.range),
  ]);
  const all = servicesOf(rows, names);
  const after = place.cursor?.key[0];
  const rest = after === undefined ? all : all.filter((one) => byBytes(one.service_name, after) > 0);
  const data = rest.slice(place.offset, place.offset + place.limit);
  const more = rest.length > place.offset + place.limit;
  const last = more ? { key: [data[data.length - 1].service_name], copies: 0 } : undefined;
  return pageAt(place, data, place.cursor?.total ?? all.length, last, asking.cost.meta());
}

/**
 * `mv_service_list` has the sums of five minutes each. One whose first and last items are both within the range is within it whole. Of
 * another it cannot be known how much is: all of these five minutes, the range's first or last, are counted in the tables themselves.
 */
async function countServices(scope: Scope, asking: Asking, range: TimeRange): Promise<ServiceRow[]> {
  const where = new Where(scope);
  const [from, to] = [where.bindTime(range.fromNs), where.bindTime(range.toNs)];
  const first = where.bindStep(STEP_NS, range.fromNs);
  const last = where.bindStep(STEP_NS, range.toNs);
  where.and(`step >= ${first}`).and(`step <= ${last}`);
  // What lies wholly outside counts neither as whole nor as cut.
  where.and(`last_seen >= ${from}`).and(`first_seen < ${to}`);
  const listed = await asking.rows<ListedRow>(
    `SELECT service_name, if(step = ${first}, ${AT_BEGIN}, ${AT_END} * (step = ${last})) AS place, first_seen >= ${from} AND last_seen < ${to} AS is_whole,
  reinterpretAsUInt64(max(last_seen)) AS seen, sum(metric_count) AS metrics, sum(span_count) AS spans, sum(log_count) AS logs,
  sum(error_count) AS errors
FROM mv_service_list WHERE ${where} GROUP BY service_name, place, is_whole`,
    where,
    undefined,
    SMALL,
  );
  const cut = listed.reduce((places, row) => (row.is_whole ? places : places | row.place), 0);
  const stretches: TimeRange[] = [];
  const firstEnds = stepBegin(range.fromNs) + STEP_NS;
  if (cut & AT_BEGIN)
    stretches.push({ fromNs: range.fromNs, toNs: firstEnds < range.toNs ? firstEnds : range.toNs });
  if (cut & AT_END) stretches.push({ fromNs: stepBegin(range.toNs), toNs: range.toNs });
  const whole = listed.filter(({ place }) => (place & cut) === 0);
  return stretches.length === 0 ? whole : [...whole, ...(await countStretches(scope, asking, stretches))];
}

/** Items of a few minutes, counted one by one; each stretch lies within five minutes. */
async function countStretches(scope: Scope, asking: Asking, stretches: TimeRange[]): Promise<ServiceRow[]> {
  const where = new Where(scope);
  const within = (isKeyedBySteps: boolean) =>
    stretches
      .map(({ fromNs, toNs }) => {
        const time = `timestamp >= ${where.bindTime(fromNs)} AND timestamp < ${where.bindTime(toNs)}`;
        if (!isKeyedBySteps) return `(${time})`;
        return `(toStartOfFiveMinutes(timestamp) = ${where.bindStep(STEP_NS, fromNs)} AND ${time})`;
      })
      .join(' OR ');
  const branch = (table: string, metrics: string, spans: string, logs: string, errors: string) =>
    `SELECT service_name, toString(reinterpretAsUInt64(max(timestamp))) AS seen, toString(${metrics}) AS metrics, toString(${spans}) AS spans,
  toString(${logs}) AS logs, toString(${errors}) AS errors
FROM ${table} WHERE ${where} AND (${within(table !== TELEMETRY_TABLES.metrics)}) GROUP BY service_name`;
  const branches = [
    branch(TELEMETRY_TABLES.metrics, 'count()', '0', '0', '0'),
    branch(TELEMETRY_TABLES.traces, '0', 'count()', '0', `countIf(status_code = 'ERROR')`),
    branch(TELEMETRY_TABLES.logs, '0', '0', 'count()', '0'),
  ];
  return asking.rows<ServiceRow>(branches.join('\nUNION ALL\n'), where);
}

/** How many metrics each service has, as `listMetricNames` lists them. */
async function countNames(scope: Scope, asking: Asking, range: TimeRange): Promise<NameRow[]> {
  const where = new Where(scope);
  const { from, isCut } = metricsListed(where, String(where), range);
  const listed = await asking.rows<NameRow & { is_cut: number }>(
    `SELECT service_name, ${isCut} AS is_cut, ${NAMES} FROM ${from} GROUP BY service_name, is_cut`,
    where,
    undefined,
    SMALL,
  );
  if (listed.every(({ is_cut }) => !is_cut)) return listed;
  const all = new Where(scope);
  const seen = metricsSeen(all, String(all), range, 'service_name, metric_name');
  return asking.rows<NameRow>(`SELECT service_name, ${NAMES} FROM ${seen} GROUP BY service_name`, all);
}

const NAMES = 'uniqExact(metric_name) AS names';

const byBytes = (a: string, b: string) => Buffer.compare(Buffer.from(a), Buffer.from(b));

/** Rows of the same service are added up. */
function servicesOf(rows: readonly ServiceRow[], names: readonly NameRow[]): Service[] {
  const services = new Map<string, { seen: bigint; figures: Service }>();
  const namesOf = new Map(names.map((row) => [row.service_name, Number(row.names)]));
  for (const row of rows) {
    const { service_name } = row;
    const seen = BigInt(row.seen);
    const known = services.get(service_name);
    const before = known?.figures;
    const spans = Number(row.spans) + (before?.span_count ?? 0);
    const errors = Number(row.errors) + (before?.error_count ?? 0);
    const last = known && known.seen > seen ? known.seen : seen;
    const figures = {
      service_name,
      last_seen: nanosToIso(String(last)),
      metric_count: Number(row.metrics) + (before?.metric_count ?? 0),
      unique_metrics: namesOf.get(service_name) ?? 0,
      span_count: spans,
      log_count: Number(row.logs) + (before?.log_count ?? 0),
      error_count: errors,
      error_rate: spans === 0 ? 0 : errors / spans,
    };
    services.set(service_name, { seen: last, figures });
  }
  return [...services.values()]
    .map(({ figures }) => figures)
    .sort((a, b) => byBytes(a.service_name, b.service_name));
}
