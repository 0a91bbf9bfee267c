import type { ClickHouseSettings } from '@clickhouse/client';
import type { ClickHouse } from '../connections/clickhouse.js';
import type { Scope } from '../edge/scope.js';
import type { AttributeFilter } from '../http/request.schema.js';
import type { TimeRange } from '../http/time.js';
import {
  estimateTotal,
  extrapolate,
  type Page,
  type PageRequest,
  type Place,
  pageAt,
  placeOf,
} from './page.js';
import { Asking, HOUR_NS, restrictByAttributes, TELEMETRY_TABLES, Where } from './statement.js';
import { nanosToIso } from './values.js';
import { readInWindows, windowsOf } from './windows.js';

/** Of spans: a trace is found when one of its spans has all of it. */
export interface TraceQuestion {
  services: string[];
  operations: string[];
  kinds: string[];
  statuses: string[];
  minDurationMs?: number;
  maxDurationMs?: number;
  attributes: AttributeFilter[];
  /** recent: by the newest span that matches; slowest: by the longest span that matches. */
  order: 'recent' | 'slowest';
}

interface FoundTrace {
  trace_hex: string;
  /** What the list is ordered by: start in Unix nanoseconds, or duration in nanoseconds. */
  rank: string;
  /** Start of a matching span, Unix nanoseconds. */
  seen: string;
}

/** Traces with at least one matching span that starts within the range, one row per trace. */
export async function searchTraces(
  scope: Scope,
  clickhouse: ClickHouse,
  question: TraceQuestion,
  range: TimeRange,
  page: PageRequest,
  signal?: AbortSignal,
): Promise<Page<TraceSummary>> {
  const place = placeOf(scope, 'traces', question, range, page, 'ih');
  const asking = new Asking(clickhouse, signal);
  const { rows: read, partialReason } =
    question.order === 'recent'
      ? await findRecent(scope, asking, question, place)
      : { rows: await findSlowest(scope, asking, question, place) };
  const found = read.slice(0, place.limit);
  const last = found[found.length - 1];
  const isLast = read.length <= place.limit && partialReason === undefined;
  const seen = found.map(({ trace_hex, seen }) => ({ id: trace_hex, seen }));
  const [data, total] = await Promise.all([
    summariseTraces(scope, asking, seen),
    isLast ? 0 : (place.cursor?.total ?? countTraces(scope, asking, question, place, found)),
  ]);
  const end = isLast ? undefined : { key: [last.rank, last.trace_hex], copies: 0 };
  return pageAt(place, data, total, end, asking.cost.meta(partialReason));
}

/** How many traces there are in all, roughly; of `shown` there is one at least. */
function countTraces(
  scope: Scope,
  asking: Asking,
  question: TraceQuestion,
  place: Place,
  shown: FoundTrace[],
): Promise<number> {
  const passed = place.offset + shown.length;
  // The slowest traces tell nothing of how many there are.
  const isRecent = question.order === 'recent';
  const last = BigInt(shown[shown.length - 1].rank);
  const ask = (limit: number, maxSeconds: number, settings: ClickHouseSettings) => {
    const where = matching(scope, question, place.range);
    return asking.rows<{ matches: string }>(
      countStatement(where, limit),
      where,
      maxSeconds,
      isRecent ? settings : undefined,
    );
  };
  return estimateTotal(ask, isRecent ? extrapolate(passed, place.range, last, true) : passed + 1);
}

/** @param params of the statement that it becomes a part of */
function matching(
  scope: Scope,
  question: TraceQuestion,
  range: TimeRange,
  params?: Record<string, unknown>,
): Where {
  const where = new Where(scope, params).withinSteps(range);
  restrictSpans(where, question);
  return where;
}

/** All of it must hold. */
export function restrictSpans(where: Where, question: Omit<TraceQuestion, 'order'>): void {
  const oneOf = (column: string, values: string[]) => {
    if (values.length > 0) where.and(`${column} IN ${where.bind('Array(String)', values)}`);
  };
  oneOf('service_name', question.services);
  oneOf('span_name', question.operations);
  oneOf('toString(span_kind)', question.kinds);
  oneOf('toString(status_code)', question.statuses);
  const durationBound = (operator: string, ms: number | undefined) => {
    if (ms !== undefined)
      where.and(`duration_nano ${operator} ${where.bind('Int64', String(Math.round(ms * 1e6)))}`);
  };
  durationBound('>=', question.minDurationMs);
  durationBound('<=', question.maxDurationMs);
  restrictByAttributes(where, question.attributes);
}

/** A trace whose matching spans begin further apart than this can stand in the list twice. */
const MAX_APART_NS = 3_600_000_000_000n;

/**
 * Reads matching spans from the newest on, in windows that grow, and stops at the last trace of the page. A trace stands where its newest
 * matching span stands, so each window leaves out the traces of spans in the hour before its begin, whichever page they are on. To
 * leave out those of all spans before would cost more on each page.
 */
async function findRecent(
  scope: Scope,
  asking: Asking,
  question: TraceQuestion,
  place: Place,
): Promise<{ rows: FoundTrace[]; partialReason?: string }> {
  const isCounted = place.cursor === undefined && place.offset > 0;
  const windows = isCounted
    ? [{ range: place.range, isFirst: true }]
    : windowsOf(place.range, place.cursor && BigInt(place.cursor.key[0]), true);
  return readInWindows<FoundTrace>(windows, place.limit + 1, async ({ range, isFirst }, found) => {
    const where = matching(scope, question, range);
    const cursor = isFirst ? place.cursor : undefined;
    const newer: TimeRange = {
      fromNs: cursor ? BigInt(cursor.key[0]) : range.toNs,
      toNs: earlier(range.toNs + MAX_APART_NS, place.range.toNs),
    };
    const outside = newer.fromNs < newer.toNs ? matching(scope, question, newer, where.params) : undefined;
    const part = { ...place, cursor, offset: isFirst ? place.offset : 0, limit: place.limit - found.length };
    const rows = await asking.rows<FoundTrace>(recentStatement(where, outside, part), where);
    const known = new Set(found.map(({ trace_hex }) => trace_hex));
    return rows.filter(({ trace_hex }) => !known.has(trace_hex));
  });
}

const earlier = (a: bigint, b: bigint) => (a < b ? a : b);

/** @param newer matching spans whose traces are left out, those at the cursor and beyond it aside */
function recentStatement(where: Where, newer: Where | undefined, place: Omit<Place, 'range'>): string {
  const table = TELEMETRY_TABLES.traces;
  const [rank, trace] = place.cursor?.key ?? [];
  const time = place.cursor && where.bindTime(BigInt(rank));
  const id = place.cursor && `toFixedString(unhex(${where.bind('String', trace)}), 16)`;
  const after = time ? ` AND (timestamp < ${time} OR (timestamp = ${time} AND trace_id < ${id}))` : '';
  const given = time ? ` AND (timestamp > ${time} OR (timestamp = ${time} AND trace_id >= ${id}))` : '';
  const unseen = newer
    ? ` AND trace_id GLOBAL NOT IN (SELECT trace_id FROM ${table} WHERE ${newer}${given})`
    : '';
  return `SELECT hex(trace_id) AS trace_hex, toString(reinterpretAsUInt64(timestamp)) AS rank, rank AS seen
FROM ${table} WHERE ${where}${after}${unseen}
ORDER BY toStartOfFiveMinutes(timestamp) DESC, timestamp DESC, trace_id DESC
LIMIT 1 BY trace_id
LIMIT ${where.bind('UInt32', place.limit + 1)} OFFSET ${where.bind('UInt32', place.offset)}`;
}

function findSlowest(
  scope: Scope,
  asking: Asking,
  question: TraceQuestion,
  place: Place,
): Promise<FoundTrace[]> {
  const where = matching(scope, question, place.range);
  return asking.rows<FoundTrace>(slowestStatement(where, place), where);
}

function slowestStatement(where: Where, place: Place): string {
  let after = '';
  if (place.cursor) {
    const longest = where.bind('Int64', place.cursor.key[0]);
    const id = `toFixedString(unhex(${where.bind('String', place.cursor.key[1])}), 16)`;
    after = ` HAVING longest < ${longest} OR (longest = ${longest} AND trace_id < ${id})`;
  }
  return `SELECT hex(trace_id) AS trace_hex, toString(longest) AS rank, toString(reinterpretAsUInt64(seen_at)) AS seen
FROM (
  SELECT trace_id, max(duration_nano) AS longest, max(timestamp) AS seen_at
  FROM ${TELEMETRY_TABLES.traces} WHERE ${where} GROUP BY trace_id${after}
  ORDER BY longest DESC, trace_id DESC
  LIMIT ${where.bind('UInt32', place.limit + 1)} OFFSET ${where.bind('UInt32', place.offset)}
)
ORDER BY longest DESC, trace_id DESC`;
}

function countStatement(where: Where, limit: number): string {
  const ids = `SELECT DISTINCT trace_id FROM ${TELEMETRY_TABLES.traces} WHERE ${where} LIMIT ${where.bind('UInt32', limit)}`;
  return `SELECT toString(count()) AS matches FROM (${ids})`;
}

/** One trace in a list. Its spans are looked for within an hour around the span that was found. */
export interface TraceSummary {
  trace_id: string;
  /** Start of the earliest span. */
  timestamp: string;
  start_time_unix_nano: string;
  /** From the start of the earliest span to the end of the latest. */
  duration_ms: number;
  /** Of the span without a parent; when it has not arrived, of the earliest span. */
  root_service: string;
  root_operation: string;
  /** false: no span without a parent is there (yet). */
  has_root: boolean;
  span_count: number;
  error_count: number;
  services: string[];
}

/** A trace by id (hex) and the Unix nanoseconds of one of its spans. */
export interface SeenTrace {
  id: string;
  seen: string;
}

const AROUND_NS = HOUR_NS;
/** Beyond this the look-up saves more than it costs: at 20 M spans it made a page of 30 days 1.5 times as fast, and those of a day dearer. */
const FAR_APART_NS = 120n * HOUR_NS;

interface SummaryRow {
  trace_hex: string;
  start: string;
  lasted: string;
  root: [string, string];
  has_root: number;
  spans: string;
  errors: string;
  services: string[];
}

/** The traces in the order given. */
export async function summariseTraces(
  scope: Scope,
  asking: Asking,
  traces: SeenTrace[],
): Promise<TraceSummary[]> {
  if (traces.length === 0) return [];
  const times = traces.map(({ seen }) => BigInt(seen)).sort((a, b) => (a < b ? -1 : a > b ? 1 : 0));
  const fromNs = times[0] > AROUND_NS ? times[0] - AROUND_NS : 0n;
  const where = new Where(scope).withinSteps({ fromNs, toNs: times[times.length - 1] + AROUND_NS });
  const ids = where.bind(
    'Array(String)',
    traces.map(({ id }) => id),
  );
  // As a subquery it becomes a set: 23 ms over 2 M spans; as a mapped array it is searched row by row: 700 ms.
  const set = `SELECT toFixedString(unhex(arrayJoin(${ids})), 16)`;
  where.and(`trace_id IN (${set})`);
  // A bloom filter that lets 1 % through lets half of everything through for 60 ids. Over more than a few days their steps are looked up.
  if (times[times.length - 1] - times[0] > FAR_APART_NS) {
    const steps = `SELECT step FROM trace_steps WHERE tenant_key = ${where.tenantKey()} AND trace_id IN (${set})`;
    where.and(`toStartOfFiveMinutes(timestamp) GLOBAL IN (${steps})`);
  }
  const rows = await asking.rows<SummaryRow>(statement(where), where);
  const byId = new Map(rows.map((row) => [row.trace_hex, row]));
  return traces.flatMap(({ id }) => byId.get(id) ?? []).map(summaryOf);
}

function statement(where: Where): string {
  return `SELECT hex(trace_id) AS trace_hex, toString(reinterpretAsUInt64(min(timestamp))) AS start,
  toString(max(toUnixTimestamp64Nano(timestamp) + duration_nano) - min(toUnixTimestamp64Nano(timestamp))) AS lasted,
  argMin((toString(service_name), toString(span_name)), (parent_span_id != toFixedString('', 8), timestamp, span_id)) AS root,
  max(parent_span_id = toFixedString('', 8)) AS has_root,
  toString(count()) AS spans, toString(countIf(status_code = 'ERROR')) AS errors,
  arraySort(groupUniqArray(toString(service_name))) AS services
FROM ${TELEMETRY_TABLES.traces} WHERE ${where} GROUP BY trace_id`;
}

function summaryOf(row: SummaryRow): TraceSummary {
  return {
    trace_id: row.trace_hex.toLowerCase(),
    timestamp: nanosToIso(row.start),
    start_time_unix_nano: row.start,
    duration_ms: Number(row.lasted) / 1e6,
    root_service: row.root[0],
    root_operation: row.root[1],
    has_root: row.has_root === 1,
    span_count: Number(row.spans),
    error_count: Number(row.errors),
    services: row.services,
  };
}
