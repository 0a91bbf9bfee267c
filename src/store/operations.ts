import type { ClickHouse } from '../connections/clickhouse.js';
import type { Scope } from '../edge/scope.js';
import type { TimeRange } from '../http/time.js';
import { type Page, type PageRequest, pageAt, placeOf } from './page.js';
import { Asking, type Meta, TELEMETRY_TABLES, Where } from './statement.js';

/** Which spans are counted. */
export interface OperationQuestion {
  services: string[];
  operations: string[];
  /** None: what comes in from outside, which is spans of the kinds SERVER and CONSUMER and those without a parent. */
  kinds: string[];
}

/** Rate, errors and duration of what a service is asked to do. */
export interface Red {
  calls: number;
  /** Calls per second of the time they are counted in. */
  rate: number;
  errors: number;
  /** errors / calls. */
  error_rate: number;
  /** To 1 %. */
  p50_ms: number;
  p95_ms: number;
  p99_ms: number;
}

export interface Operation extends Red {
  service_name: string;
  /** '' where all of a service's are summed. */
  operation: string;
  /** Time spent in it, all calls together. */
  total_ms: number;
}

export const OPERATION_ORDERS = ['calls', 'errors', 'p95', 'total', 'name'] as const;

interface FiguresRow {
  calls: string;
  failed: string;
  quantiles: number[];
}

interface OperationRow extends FiguresRow {
  service_name: string;
  operation: string;
  rank: string;
  total: string;
  operations: string;
}

const FIGURES = `toString(count()) AS calls, toString(countIf(status_code = 'ERROR')) AS failed,
  quantilesDD(0.01, 0.5, 0.95, 0.99)(greatest(duration_nano, 0)) AS quantiles`;

/** A whole number, so that a page can begin where the one before ended. */
const RANK: Record<(typeof OPERATION_ORDERS)[number], string> = {
  calls: 'toInt64(count())',
  errors: `toInt64(countIf(status_code = 'ERROR'))`,
  p95: 'toInt64(quantileDD(0.01, 0.95)(greatest(duration_nano, 0)))',
  total: 'toInt64(sum(duration_nano))',
  name: 'toInt64(0)',
};

/**
 * Services, or their operations, the greatest first. Each page groups the whole range: it costs the same on any page, and the total
 * is exact.
 */
export async function listOperations(
  scope: Scope,
  clickhouse: ClickHouse,
  question: OperationQuestion & { by: 'service' | 'operation'; order: (typeof OPERATION_ORDERS)[number] },
  range: TimeRange,
  page: PageRequest,
  signal?: AbortSignal,
): Promise<Page<Operation>> {
  const place = placeOf(scope, 'operations', question, range, page, 'iss');
  const asking = new Asking(clickhouse, signal);
  const where = matching(scope, question, place.range);
  const name = question.by === 'service' ? `''` : 'span_name';
  const [rank, service, operation] = place.cursor?.key ?? [];
  const after = place.cursor
    ? `WHERE (-rank, service_name, operation) > (-${where.bind('Int64', rank)}, ${where.bind('String', service)}, ${where.bind('String', operation)})`
    : '';
  const read = await asking.rows<OperationRow>(
    `SELECT * FROM (
  SELECT toString(service_name) AS service_name, toString(${name}) AS operation, ${RANK[question.order]} AS rank,
    ${FIGURES}, toString(sum(duration_nano)) AS total, toString(count() OVER ()) AS operations
  FROM ${TELEMETRY_TABLES.traces} WHERE ${where} GROUP BY service_name, operation
) ${after} ORDER BY rank DESC, service_name, operation
LIMIT ${where.bind('UInt32', place.limit + 1)} OFFSET ${where.bind('UInt32', place.offset)}`,
    where,
  );
  const rows = read.slice(0, place.limit);
  const last = rows[rows.length - 1];
  const end =
    read.length > place.limit
      ? { key: [last.rank, last.service_name, last.operation], copies: 0 }
      : undefined;
  const seconds = Number(place.range.toNs - place.range.fromNs) / 1e9;
  const data = rows.map((row) => ({
    service_name: row.service_name,
    operation: row.operation,
    ...redOf(row, seconds),
    total_ms: Number(row.total) / 1e6,
  }));
  return pageAt(place, data, Number(read[0]?.operations ?? 0), end, asking.cost.meta());
}

/** Red of the calls that begin within a step. */
export interface RedPoint extends Red {
  /** Begin of the step, Unix milliseconds. */
  time_ms: number;
}

export interface RedSeries {
  /** Seconds. */
  step: number;
  /** Steps without calls are left out. */
  points: RedPoint[];
  meta: Meta;
}

/** The same over time, all that matches together. Steps are aligned to the epoch. */
export async function followOperations(
  scope: Scope,
  clickhouse: ClickHouse,
  question: OperationQuestion & { stepMs: number },
  range: TimeRange,
  signal?: AbortSignal,
): Promise<RedSeries> {
  const { stepMs } = question;
  const asking = new Asking(clickhouse, signal);
  const where = matching(scope, question, range);
  const stepNs = where.bind('Int64', String(BigInt(stepMs) * 1_000_000n));
  const rows = await asking.rows<FiguresRow & { step: string }>(
    `SELECT toString(intDiv(toUnixTimestamp64Nano(timestamp), ${stepNs})) AS step, ${FIGURES}
FROM ${TELEMETRY_TABLES.traces} WHERE ${where} GROUP BY step ORDER BY toInt64(step)`,
    where,
  );
  const fromMs = Number(range.fromNs) / 1e6;
  const toMs = Number(range.toNs) / 1e6;
  const points = rows.map((row) => {
    const time_ms = Number(row.step) * stepMs;
    // Of the first and the last step only a part may lie within the range.
    const seconds = (Math.min(time_ms + stepMs, toMs) - Math.max(time_ms, fromMs)) / 1000;
    return { time_ms, ...redOf(row, seconds) };
  });
  return { step: stepMs / 1000, points, meta: asking.cost.meta() };
}

function matching(scope: Scope, question: OperationQuestion, range: TimeRange): Where {
  const where = new Where(scope).withinSteps(range);
  const { services, operations, kinds } = question;
  if (services.length > 0) where.and(`service_name IN ${where.bind('Array(String)', services)}`);
  if (operations.length > 0) where.and(`span_name IN ${where.bind('Array(String)', operations)}`);
  if (kinds.length > 0) where.and(`toString(span_kind) IN ${where.bind('Array(String)', kinds)}`);
  else where.and(`(span_kind IN ('SERVER', 'CONSUMER') OR parent_span_id = toFixedString('', 8))`);
  return where;
}

function redOf({ calls, failed, quantiles }: FiguresRow, seconds: number): Red {
  const [p50, p95, p99] = quantiles.map((ns) => ns / 1e6);
  const [all, errors] = [Number(calls), Number(failed)];
  return {
    calls: all,
    rate: all / seconds,
    errors,
    error_rate: errors / all,
    p50_ms: p50,
    p95_ms: p95,
    p99_ms: p99,
  };
}
