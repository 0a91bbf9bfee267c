import type { ClickHouse } from '../connections/clickhouse.js';
import type { Scope } from '../edge/scope.js';
import type { AttributeFilter } from '../http/request.schema.js';
import type { TimeRange } from '../http/time.js';
import type { Page, PageRequest } from './page.js';
import { ORIGIN_COLUMNS, ORIGIN_IDENTITY, type Origin, type OriginRow, originOf } from './resource.js';
import { restrictByAttributes, TELEMETRY_TABLES, type Where } from './statement.js';
import { type OrderedRow, readTimeOrdered } from './time-ordered.js';
import { type Attributes, decodeAttributes, decodeValue, hexId, type Json, nanosToIso } from './values.js';

/** A text that the body must hold, or must not; compared without regard to case. */
export interface SearchTerm {
  text: string;
  negated: boolean;
}

/** All of it must hold. Ids are lower-case hex. */
export interface LogQuestion {
  terms: SearchTerm[];
  services: string[];
  severities: string[];
  minSeverity?: number;
  traceId?: string;
  spanId?: string;
  attributes: AttributeFilter[];
  order: 'asc' | 'desc';
}

export interface LogRecord extends Attributes, Origin {
  /** The record's time; when it has none, the observed time; when it has neither, when it was received. */
  timestamp: string;
  timestamp_source: 'time' | 'observed' | 'received';
  /** As sent; "0" when the record carried no time. */
  time_unix_nano: string;
  /** null when the record carried none. */
  observed_timestamp: string | null;
  observed_time_unix_nano: string;
  trace_id: string;
  span_id: string;
  flags: number;
  severity_number: number;
  severity_text: string;
  service_name: string;
  event_name: string;
  body: Json;
  body_type: string;
  dropped_attributes_count: number;
}

/** Log records, newest first (or oldest), full rows. */
export function searchLogs(
  scope: Scope,
  clickhouse: ClickHouse,
  question: LogQuestion,
  range: TimeRange,
  page: PageRequest,
  signal?: AbortSignal,
): Promise<Page<LogRecord>> {
  const { order, ...filters } = question;
  const table = {
    name: 'logs',
    table: TELEMETRY_TABLES.logs,
    keyedBySteps: true,
    columns: LOG_COLUMNS,
    identity: LOG_IDENTITY,
  };
  const restrict = (where: Where) => restrictLogs(where, question);
  return readTimeOrdered(
    scope,
    clickhouse,
    { ...table, order, filters, restrict, decode: decodeLog },
    range,
    page,
    signal,
  );
}

export function restrictLogs(where: Where, question: Omit<LogQuestion, 'order'>): void {
  if (question.services.length > 0)
    where.and(`service_name IN ${where.bind('Array(String)', question.services)}`);
  if (question.traceId)
    where.and(`trace_id = toFixedString(unhex(${where.bind('String', question.traceId)}), 16)`);
  if (question.spanId)
    where.and(`span_id = toFixedString(unhex(${where.bind('String', question.spanId)}), 8)`);
  if (question.severities.length > 0) where.and(severityIn(where, question.severities));
  if (question.minSeverity !== undefined) where.and(severityAtLeast(where, question.minSeverity));
  for (const { text, negated } of question.terms) {
    // The ASCII search is several times as fast, and right for every ASCII needle.
    const search = /^[\x20-\x7e]*$/.test(text) ? 'positionCaseInsensitive' : 'positionCaseInsensitiveUTF8';
    where.and(`${search}(body, ${where.bind('String', text)}) ${negated ? '=' : '>'} 0`);
  }
  restrictByAttributes(where, question.attributes);
}

/** A known name means its band of numbers as well as the text: senders spell the text as they like, or leave it out. */
function severityIn(where: Where, names: string[]): string {
  const texts = where.bind(
    'Array(String)',
    names.map((name) => name.toUpperCase()),
  );
  const numbers = where.bind('Array(Int32)', names.flatMap(severityBand));
  return `(upper(severity_text) IN ${texts} OR severity_number IN ${numbers})`;
}

/** Records that carry only a text are ranked by it. */
function severityAtLeast(where: Where, least: number): string {
  const texts = where.bind('Array(String)', namesFrom(least));
  const number = where.bind('Int32', least);
  return `(severity_number >= ${number} OR (severity_number = 0 AND upper(severity_text) IN ${texts}))`;
}

/** Everything that makes a record differ from another. */
export const LOG_IDENTITY = `service_name, observed_timestamp, timestamp_source, trace_id, span_id, flags, severity_number,
  severity_text, event_name, body, body_type, attributes, attribute_types, dropped_attributes_count, ${ORIGIN_IDENTITY}`;

/** Of a `LogRow`, less its time and hash. */
export const LOG_COLUMNS = `timestamp_source, toString(reinterpretAsUInt64(observed_timestamp)) AS observed_time_unix_nano,
  hex(trace_id) AS trace_hex, hex(span_id) AS span_hex, flags, severity_number, severity_text, service_name, event_name,
  body, body_type, mapKeys(attributes) AS attribute_keys, mapValues(attributes) AS attribute_values, attribute_types,
  dropped_attributes_count, ${ORIGIN_COLUMNS}`;

export interface LogRow extends OrderedRow, OriginRow {
  timestamp_source: LogRecord['timestamp_source'];
  observed_time_unix_nano: string;
  trace_hex: string;
  span_hex: string;
  flags: number;
  severity_number: number;
  severity_text: string;
  service_name: string;
  event_name: string;
  body: string;
  body_type: string;
  attribute_keys: string[];
  attribute_values: string[];
  attribute_types: string;
  dropped_attributes_count: number;
}

export function decodeLog(row: LogRow): LogRecord {
  const observed = row.observed_time_unix_nano;
  return {
    timestamp: nanosToIso(row.time_unix_nano),
    timestamp_source: row.timestamp_source,
    time_unix_nano: row.timestamp_source === 'time' ? row.time_unix_nano : '0',
    observed_timestamp: observed === '0' ? null : nanosToIso(observed),
    observed_time_unix_nano: observed,
    trace_id: hexId(row.trace_hex),
    span_id: hexId(row.span_hex),
    flags: row.flags,
    severity_number: row.severity_number,
    severity_text: row.severity_text,
    service_name: row.service_name,
    event_name: row.event_name,
    body: decodeValue(row.body, row.body_type),
    body_type: row.body_type,
    ...decodeAttributes(row.attribute_keys, row.attribute_values, row.attribute_types),
    dropped_attributes_count: row.dropped_attributes_count,
    ...originOf(row),
  };
}

/** OTLP's severities: six names, four numbers each, 1 to 24 (opentelemetry-proto logs.proto, SeverityNumber). */
export const SEVERITIES = ['TRACE', 'DEBUG', 'INFO', 'WARN', 'ERROR', 'FATAL'] as const;

const BAND = 4;
const MAX_NUMBER = SEVERITIES.length * BAND;

/** What loggers write instead of OTLP's names. */
const ALIASES: Record<string, (typeof SEVERITIES)[number]> = {
  INFORMATION: 'INFO',
  NOTICE: 'INFO',
  WARNING: 'WARN',
  ERR: 'ERROR',
  CRITICAL: 'FATAL',
  EMERGENCY: 'FATAL',
  ALERT: 'FATAL',
  PANIC: 'FATAL',
  VERBOSE: 'TRACE',
};

/** The numbers of a name in any case, e.g. warning -> 13..16; none for a name of someone's own. */
export function severityBand(name: string): number[] {
  const least = severityNumber(name);
  return least === undefined ? [] : Array.from({ length: BAND }, (_, i) => least + i);
}

/** The lowest number of a name, or the number itself when it is one from 1 to 24. */
export function severityNumber(text: string): number | undefined {
  if (/^\d{1,2}$/.test(text)) {
    const number = Number(text);
    return number >= 1 && number <= MAX_NUMBER ? number : undefined;
  }
  const name = text.toUpperCase();
  const index = SEVERITIES.findIndex((known) => known === (ALIASES[name] ?? name));
  return index < 0 ? undefined : index * BAND + 1;
}

/** The names, aliases included, whose lowest number is at least `least`, in upper case. */
export function namesFrom(least: number): string[] {
  return [...SEVERITIES, ...Object.keys(ALIASES)].filter((name) => severityNumber(name)! >= least);
}
