import type { Signal } from '../../src/signal.js';
import type { StoredRow } from './native-store.js';

/**
 * The rows that a request must become, by the plain way: from a message that protobufjs decoded. Shares nothing with
 * the program; columns that are not named here must have their defaults.
 */

interface Message {
  [field: string]: unknown;
}
const list = (value: unknown): Message[] => (value ?? []) as Message[];
const message = (value: unknown): Message => (value ?? {}) as Message;
const text = (value: unknown): string => (value ?? '') as string;
const u64 = (value: unknown): string => String(value ?? 0);
const number = (value: unknown): number => Number(value ?? 0);
const i32 = (value: unknown): number => number(value) | 0;
const known = (value: unknown, names: readonly string[]): string => names[number(value)] ?? names[0];

function hex(value: unknown, length: number): string {
  const bytes = Buffer.from((value ?? []) as Uint8Array);
  return (bytes.length === 0 ? Buffer.alloc(length) : bytes).toString('hex').toUpperCase();
}

/** The 64 bits of a double as the engine's hex() gives them: without leading zero bytes. */
function bits(value: unknown): string {
  const buffer = Buffer.alloc(8);
  buffer.writeDoubleBE(Number(value ?? 0));
  const digits = buffer
    .toString('hex')
    .toUpperCase()
    .replace(/^(00)+/, '');
  return digits === '' ? '00' : digits;
}

function doubleText(value: number): string {
  return Object.is(value, -0) ? '-0' : String(value);
}

/** AnyValue -> text and signature. */
export function anyValue(value: unknown, isNested = false): [text: string, types: string] {
  const v = message(value);
  if (v.stringValue != null) return [isNested ? JSON.stringify(v.stringValue) : text(v.stringValue), 's'];
  if (v.boolValue != null) return [String(v.boolValue), 'b'];
  if (v.intValue != null) return [String(v.intValue), 'i'];
  if (v.doubleValue != null) {
    const shown = doubleText(v.doubleValue as number);
    return [isNested && !Number.isFinite(v.doubleValue) ? `"${shown}"` : shown, 'd'];
  }
  if (v.bytesValue != null) {
    const base64 = Buffer.from(v.bytesValue as Uint8Array).toString('base64');
    return [isNested ? `"${base64}"` : base64, 'y'];
  }
  if (v.arrayValue != null) {
    const members = list(message(v.arrayValue).values).map((member) => anyValue(member, true));
    return [`[${members.map(([t]) => t).join(',')}]`, `[${members.map(([, s]) => s).join('')}]`];
  }
  if (v.kvlistValue != null) {
    const members = list(message(v.kvlistValue).values).map(
      (pair) => [text(pair.key), ...anyValue(pair.value, true)] as const,
    );
    const body = members.map(([key, t]) => `${JSON.stringify(key)}:${t}`).join(',');
    return [`{${body}}`, `{${members.map(([, , s]) => s).join('')}}`];
  }
  return [isNested ? 'null' : '', 'n'];
}

function attributes(pairs: unknown): { pairs: [string, string][]; types: string } {
  const values = list(pairs).map((pair) => [text(pair.key), ...anyValue(pair.value)] as const);
  return {
    pairs: values.map(([key, value]) => [key, value]),
    types: values.map(([, , type]) => type).join(''),
  };
}

function resourceColumns(block: Message): StoredRow {
  const resource = message(block.resource);
  const { pairs, types } = attributes(resource.attributes);
  return {
    service_name: pairs.find(([key]) => key === 'service.name')?.[1] ?? '',
    resource_attributes: pairs,
    resource_attribute_types: types,
    resource_dropped_attributes_count: number(resource.droppedAttributesCount),
    resource_schema_url: text(block.schemaUrl),
  };
}

function scopeColumns(block: Message): StoredRow {
  const scope = message(block.scope);
  const { pairs, types } = attributes(scope.attributes);
  return {
    scope_name: text(scope.name),
    scope_version: text(scope.version),
    scope_attributes: pairs,
    scope_attribute_types: types,
    scope_dropped_attributes_count: number(scope.droppedAttributesCount),
    scope_schema_url: text(block.schemaUrl),
  };
}

const KINDS = ['UNSPECIFIED', 'INTERNAL', 'SERVER', 'CLIENT', 'PRODUCER', 'CONSUMER'];

function spanRow(span: Message): StoredRow {
  const own = attributes(span.attributes);
  const events = list(span.events);
  const eventAttributes = events.map((event) => attributes(event.attributes));
  const links = list(span.links);
  const linkAttributes = links.map((link) => attributes(link.attributes));
  const status = message(span.status);
  const duration = BigInt(u64(span.endTimeUnixNano)) - BigInt(u64(span.startTimeUnixNano));
  return {
    timestamp: u64(span.startTimeUnixNano),
    trace_id: hex(span.traceId, 16),
    span_id: hex(span.spanId, 8),
    parent_span_id: hex(span.parentSpanId, 8),
    trace_state: text(span.traceState),
    flags: number(span.flags),
    span_name: text(span.name),
    span_kind: known(span.kind, KINDS),
    duration_nano: String(BigInt.asIntN(64, duration)),
    status_code: known(status.code, ['UNSET', 'OK', 'ERROR']),
    status_message: text(status.message),
    attributes: own.pairs,
    attribute_types: own.types,
    dropped_attributes_count: number(span.droppedAttributesCount),
    'events.timestamp': events.map((event) => u64(event.timeUnixNano)),
    'events.name': events.map((event) => text(event.name)),
    'events.attributes': eventAttributes.map(({ pairs }) => pairs),
    'events.attribute_types': eventAttributes.map(({ types }) => types),
    'events.dropped_attributes_count': events.map((event) => number(event.droppedAttributesCount)),
    dropped_events_count: number(span.droppedEventsCount),
    'links.trace_id': links.map((link) => hex(link.traceId, 16)),
    'links.span_id': links.map((link) => hex(link.spanId, 8)),
    'links.trace_state': links.map((link) => text(link.traceState)),
    'links.flags': links.map((link) => number(link.flags)),
    'links.attributes': linkAttributes.map(({ pairs }) => pairs),
    'links.attribute_types': linkAttributes.map(({ types }) => types),
    'links.dropped_attributes_count': links.map((link) => number(link.droppedAttributesCount)),
    dropped_links_count: number(span.droppedLinksCount),
  };
}

function logRow(record: Message, receivedAtMs: number): StoredRow {
  const own = attributes(record.attributes);
  const [body, bodyType] = record.body == null ? ['', ''] : anyValue(record.body);
  const time = u64(record.timeUnixNano);
  const observed = u64(record.observedTimeUnixNano);
  const received = String(BigInt(receivedAtMs) * 1_000_000n);
  return {
    timestamp: time !== '0' ? time : observed !== '0' ? observed : received,
    timestamp_source: time !== '0' ? 'time' : observed !== '0' ? 'observed' : 'received',
    observed_timestamp: observed,
    trace_id: hex(record.traceId, 16),
    span_id: hex(record.spanId, 8),
    flags: number(record.flags),
    severity_number: i32(record.severityNumber),
    severity_text: text(record.severityText),
    event_name: text(record.eventName),
    body,
    body_type: bodyType,
    attributes: own.pairs,
    attribute_types: own.types,
    dropped_attributes_count: number(record.droppedAttributesCount),
  };
}

const DATA = {
  gauge: 'gauge',
  sum: 'sum',
  histogram: 'histogram',
  exponentialHistogram: 'exponential_histogram',
  summary: 'summary',
} as const;

function pointValue(point: Message): { value: string; value_int: string; value_type: string } {
  if (point.asDouble != null) return { value: bits(point.asDouble), value_int: '0', value_type: 'double' };
  if (point.asInt == null) return { value: bits(0), value_int: '0', value_type: 'none' };
  const int = String(point.asInt);
  return { value: bits(Number(BigInt(int))), value_int: int, value_type: 'int' };
}

function pointRow(point: Message, kind: string): StoredRow {
  const own = attributes(point.attributes);
  const exemplars = list(point.exemplars);
  const exemplarAttributes = exemplars.map((exemplar) => attributes(exemplar.filteredAttributes));
  const optional = (value: unknown) => (value == null ? null : bits(value));
  const positive = message(point.positive);
  const negative = message(point.negative);
  const quantiles = list(point.quantileValues);
  const numbers = (values: unknown) => ((values ?? []) as unknown[]).map(u64);
  return {
    timestamp: u64(point.timeUnixNano),
    start_timestamp: u64(point.startTimeUnixNano),
    attributes: own.pairs,
    attribute_types: own.types,
    flags: number(point.flags),
    ...pointValue(point),
    count: u64(point.count),
    sum: kind === 'summary' ? bits(point.sum) : optional(point.sum),
    min: optional(point.min),
    max: optional(point.max),
    explicit_bounds: ((point.explicitBounds ?? []) as number[]).map(bits),
    bucket_counts: numbers(point.bucketCounts),
    scale: number(point.scale),
    zero_count: u64(point.zeroCount),
    zero_threshold: bits(point.zeroThreshold),
    positive_offset: number(positive.offset),
    positive_bucket_counts: numbers(positive.bucketCounts),
    negative_offset: number(negative.offset),
    negative_bucket_counts: numbers(negative.bucketCounts),
    quantiles: quantiles.map((q) => bits(q.quantile)),
    quantile_values: quantiles.map((q) => bits(q.value)),
    'exemplars.timestamp': exemplars.map((exemplar) => u64(exemplar.timeUnixNano)),
    'exemplars.value': exemplars.map((exemplar) => pointValue(exemplar).value),
    'exemplars.value_int': exemplars.map((exemplar) => pointValue(exemplar).value_int),
    'exemplars.value_type': exemplars.map((exemplar) => pointValue(exemplar).value_type),
    'exemplars.trace_id': exemplars.map((exemplar) => hex(exemplar.traceId, 16)),
    'exemplars.span_id': exemplars.map((exemplar) => hex(exemplar.spanId, 8)),
    'exemplars.attributes': exemplarAttributes.map(({ pairs }) => pairs),
    'exemplars.attribute_types': exemplarAttributes.map(({ types }) => types),
  };
}

function metricRows(metric: Message): StoredRow[] {
  const field = (Object.keys(DATA) as (keyof typeof DATA)[]).find((name) => metric[name] != null);
  if (field === undefined) return [];
  const data = message(metric[field]);
  const metadata = attributes(metric.metadata);
  const common = {
    metric_name: text(metric.name),
    metric_type: DATA[field],
    unit: text(metric.unit),
    description: text(metric.description),
    metric_metadata: metadata.pairs,
    metric_metadata_types: metadata.types,
    aggregation_temporality: known(data.aggregationTemporality, ['UNSPECIFIED', 'DELTA', 'CUMULATIVE']),
    is_monotonic: data.isMonotonic === true,
  };
  return list(data.dataPoints).map((point) => ({ ...common, ...pointRow(point, field) }));
}

/** The rows of one decoded request in the order of its items, none of which is to be rejected. */
export function expectedRows(signal: Signal, request: object, receivedAtMs: number): StoredRow[] {
  const rows: StoredRow[] = [];
  const { resourceSpans, resourceLogs, resourceMetrics } = request as Message;
  for (const block of list(resourceSpans ?? resourceLogs ?? resourceMetrics)) {
    const resource = resourceColumns(block);
    for (const scopeBlock of list(block.scopeSpans ?? block.scopeLogs ?? block.scopeMetrics)) {
      const common = { ...resource, ...scopeColumns(scopeBlock) };
      const items =
        signal === 'traces'
          ? list(scopeBlock.spans).map(spanRow)
          : signal === 'logs'
            ? list(scopeBlock.logRecords).map((record) => logRow(record, receivedAtMs))
            : list(scopeBlock.metrics).flatMap(metricRows);
      rows.push(...items.map((item) => ({ ...common, ...item })));
    }
  }
  return rows;
}
