import type { ClickHouse } from '../connections/clickhouse.js';
import type { Scope } from '../edge/scope.js';
import { AppError } from '../errors.js';
import type { TimeRange } from '../http/time.js';
import { ORIGIN_COLUMNS, type Origin, type OriginRow, originOf } from './resource.js';
import { Asking, type Meta, TELEMETRY_TABLES, Where } from './statement.js';
import { type Attributes, decodeAttributes, hexId, nanosToIso } from './values.js';
import { stepsOf } from './windows.js';

/** Spans of one trace that are given at most; a trace with more is `partial`. */
export const MAX_TRACE_SPANS = 50_000;

export const PARTIAL_REASON = `The trace has more than ${MAX_TRACE_SPANS} spans; these are the first by their start. Narrow it with from and to.`;

export interface Trace extends TraceFigures {
  trace_id: string;
  /** In the order of their start. */
  spans: Span[];
  meta: Meta;
}

/** Of a whole trace. */
export interface TraceFigures {
  timestamp: string;
  start_time_unix_nano: string;
  /** From the start of the earliest span to the end of the latest. */
  duration_ms: number;
  span_count: number;
  error_count: number;
  services: string[];
}

/**
 * A statement's answer is parsed in one go, which holds up every other request: all of a trace of 50,000 spans for 2 s,
 * a slice of it for a twentieth of that.
 */
export const SLICE_SPANS = 2000;
const SLICE_REASON = `These are the first ${SLICE_SPANS} spans by their start.`;

/**
 * A trace, or its first 2,000 spans: then `meta.partial` is set, and `TraceReading` goes on.
 *
 * @param traceId 32 lower-case hex digits
 * @param range all the days that are kept, unless the caller knows better
 * @throws AppError NOT_FOUND when the tenant has no such trace
 */
export async function readTrace(
  scope: Scope,
  clickhouse: ClickHouse,
  traceId: string,
  range: TimeRange,
  signal?: AbortSignal,
): Promise<Trace> {
  const reading = new TraceReading(scope, clickhouse, traceId, range, signal);
  const spans = await reading.next();
  if (spans.length === 0) throw new AppError('NOT_FOUND', `There is no trace ${traceId}.`);
  return {
    trace_id: traceId,
    ...reading.figures(),
    spans,
    meta: reading.meta(reading.hasMore ? SLICE_REASON : undefined),
  };
}

/** The spans of a trace in the order of their start, slice by slice, and the figures of what was read so far. */
export class TraceReading {
  /** Not known before the first slice. */
  hasMore = true;
  private readonly asking: Asking;
  private first: Span | undefined;
  private last: Span | undefined;
  private isNarrowed = false;
  /** How many spans up to the last one begin with it: the next slice begins at their time, after them. */
  private sameTime = 0;
  private count = 0;
  private errors = 0;
  private endNs = 0n;
  private readonly services = new Set<string>();

  constructor(
    private readonly scope: Scope,
    clickhouse: ClickHouse,
    private readonly traceId: string,
    private range: TimeRange,
    signal?: AbortSignal,
  ) {
    this.asking = new Asking(clickhouse, signal);
  }

  /** The next 2,000 spans at most. @throws AppError as `Asking.rows` does */
  async next(): Promise<Span[]> {
    if (!(await this.narrow())) return [];
    const fromNs = this.last ? BigInt(this.last.start_time_unix_nano) : this.range.fromNs;
    const where = new Where(this.scope).withinSteps({ fromNs, toNs: this.range.toNs });
    where.and(`trace_id = toFixedString(unhex(${where.bind('String', this.traceId)}), 16)`);
    const rows = await this.asking.rows<SpanRow>(sliceStatement(where, this.sameTime), where);
    this.hasMore = rows.length > SLICE_SPANS;
    const spans = rows.slice(0, SLICE_SPANS).map(decodeSpan);
    this.take(spans);
    return spans;
  }

  /** Looks up where the trace lies, before the first slice; false when it is nowhere. */
  private async narrow(): Promise<boolean> {
    if (this.isNarrowed) return true;
    const steps = await stepsOf(this.scope, this.asking, this.traceId, this.range);
    this.isNarrowed = steps !== undefined;
    this.hasMore = this.isNarrowed;
    this.range = steps ?? this.range;
    return this.isNarrowed;
  }

  /** Counts spans that were read before, by another reading, as read. */
  take(spans: readonly Span[]): void {
    for (const span of spans) {
      this.sameTime = span.start_time_unix_nano === this.last?.start_time_unix_nano ? this.sameTime + 1 : 1;
      this.first ??= span;
      this.last = span;
      this.count++;
      const end = BigInt(span.start_time_unix_nano) + BigInt(span.duration_nano);
      if (this.count === 1 || end > this.endNs) this.endNs = end;
      if (span.status_code === 'ERROR') this.errors++;
      this.services.add(span.service_name);
    }
  }

  get isFull(): boolean {
    return this.count >= MAX_TRACE_SPANS;
  }

  /** Of the spans read so far, of which there must be one. */
  figures(): TraceFigures {
    const { timestamp, start_time_unix_nano } = this.first!;
    const start = BigInt(start_time_unix_nano);
    const lasted = this.endNs > start ? this.endNs - start : 0n;
    return {
      timestamp,
      start_time_unix_nano,
      duration_ms: Number(lasted) / 1e6,
      span_count: this.count,
      error_count: this.errors,
      services: [...this.services].sort(),
    };
  }

  meta(partialReason?: string): Meta {
    return this.asking.cost.meta(partialReason);
  }
}

function sliceStatement(where: Where, offset: number): string {
  return `SELECT ${SPAN_COLUMNS} FROM ${TELEMETRY_TABLES.traces} WHERE ${where}
ORDER BY timestamp, span_id, service_name, span_name, duration_nano
LIMIT ${where.bind('UInt32', SLICE_SPANS + 1)} OFFSET ${where.bind('UInt32', offset)}`;
}

export interface SpanEvent extends Attributes {
  timestamp: string;
  time_unix_nano: string;
  name: string;
  dropped_attributes_count: number;
}

export interface SpanLink extends Attributes {
  trace_id: string;
  span_id: string;
  trace_state: string;
  flags: number;
  dropped_attributes_count: number;
}

/** A span with every field OTLP gives it. */
export interface Span extends Attributes, Origin {
  timestamp: string;
  start_time_unix_nano: string;
  end_time_unix_nano: string;
  /** end - start, decimal digits; negative when the sender's end lies before its start. */
  duration_nano: string;
  duration_ms: number;
  trace_id: string;
  span_id: string;
  /** '' for a root span. */
  parent_span_id: string;
  trace_state: string;
  flags: number;
  service_name: string;
  span_name: string;
  span_kind: 'UNSPECIFIED' | 'INTERNAL' | 'SERVER' | 'CLIENT' | 'PRODUCER' | 'CONSUMER';
  status_code: 'UNSET' | 'OK' | 'ERROR';
  status_message: string;
  dropped_attributes_count: number;
  events: SpanEvent[];
  dropped_events_count: number;
  links: SpanLink[];
  dropped_links_count: number;
}

export const SPAN_COLUMNS = `toString(reinterpretAsUInt64(timestamp)) AS start_time_unix_nano,
  toString(duration_nano) AS duration_text, hex(trace_id) AS trace_hex, hex(span_id) AS span_hex,
  hex(parent_span_id) AS parent_hex, trace_state, flags, service_name, span_name, span_kind, status_code, status_message,
  mapKeys(attributes) AS attribute_keys, mapValues(attributes) AS attribute_values, attribute_types,
  dropped_attributes_count, arrayMap(t -> toString(reinterpretAsUInt64(t)), events.timestamp) AS event_nanos,
  events.name AS event_names, arrayMap(m -> mapKeys(m), events.attributes) AS event_keys,
  arrayMap(m -> mapValues(m), events.attributes) AS event_values, events.attribute_types AS event_types,
  events.dropped_attributes_count AS event_dropped, dropped_events_count,
  arrayMap(x -> hex(x), links.trace_id) AS link_traces, arrayMap(x -> hex(x), links.span_id) AS link_spans,
  links.trace_state AS link_states, links.flags AS link_flags, arrayMap(m -> mapKeys(m), links.attributes) AS link_keys,
  arrayMap(m -> mapValues(m), links.attributes) AS link_values, links.attribute_types AS link_types,
  links.dropped_attributes_count AS link_dropped, dropped_links_count, ${ORIGIN_COLUMNS}`;

export interface SpanRow extends OriginRow {
  start_time_unix_nano: string;
  duration_text: string;
  trace_hex: string;
  span_hex: string;
  parent_hex: string;
  trace_state: string;
  flags: number;
  service_name: string;
  span_name: string;
  span_kind: Span['span_kind'];
  status_code: Span['status_code'];
  status_message: string;
  attribute_keys: string[];
  attribute_values: string[];
  attribute_types: string;
  dropped_attributes_count: number;
  event_nanos: string[];
  event_names: string[];
  event_keys: string[][];
  event_values: string[][];
  event_types: string[];
  event_dropped: number[];
  dropped_events_count: number;
  link_traces: string[];
  link_spans: string[];
  link_states: string[];
  link_flags: number[];
  link_keys: string[][];
  link_values: string[][];
  link_types: string[];
  link_dropped: number[];
  dropped_links_count: number;
}

export function decodeSpan(row: SpanRow): Span {
  const start = row.start_time_unix_nano;
  return {
    timestamp: nanosToIso(start),
    start_time_unix_nano: start,
    // OTLP's end is an unsigned 64-bit number; the difference is kept modulo 2^64.
    end_time_unix_nano: String(BigInt.asUintN(64, BigInt(start) + BigInt(row.duration_text))),
    duration_nano: row.duration_text,
    duration_ms: Number(row.duration_text) / 1e6,
    trace_id: hexId(row.trace_hex),
    span_id: hexId(row.span_hex),
    parent_span_id: hexId(row.parent_hex),
    trace_state: row.trace_state,
    flags: row.flags,
    service_name: row.service_name,
    span_name: row.span_name,
    span_kind: row.span_kind,
    status_code: row.status_code,
    status_message: row.status_message,
    ...decodeAttributes(row.attribute_keys, row.attribute_values, row.attribute_types),
    dropped_attributes_count: row.dropped_attributes_count,
    events: row.event_nanos.map((nanos, i) => ({
      timestamp: nanosToIso(nanos),
      time_unix_nano: nanos,
      name: row.event_names[i],
      ...decodeAttributes(row.event_keys[i], row.event_values[i], row.event_types[i]),
      dropped_attributes_count: row.event_dropped[i],
    })),
    dropped_events_count: row.dropped_events_count,
    links: row.link_traces.map((trace, i) => ({
      trace_id: hexId(trace),
      span_id: hexId(row.link_spans[i]),
      trace_state: row.link_states[i],
      flags: row.link_flags[i],
      ...decodeAttributes(row.link_keys[i], row.link_values[i], row.link_types[i]),
      dropped_attributes_count: row.link_dropped[i],
    })),
    dropped_links_count: row.dropped_links_count,
    ...originOf(row),
  };
}
