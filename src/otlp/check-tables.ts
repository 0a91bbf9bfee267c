import { MESSAGES } from './otlp-schema.js';

/** What is done with a field. */
export enum Kind {
  Unknown,
  Skipped,
  String,
  PackedFixed64,
  PackedVarint,
  TraceId,
  SpanId,
  ParentId,
  Time,
  ObservedTime,
  Message,
  KeyValue,
}
/** What entering and leaving a message means for the counting of items. */
export enum Role {
  None,
  Resource,
  Scope,
  ResourceBlock,
  ScopeBlock,
  Metric,
  Data,
  Span,
  Log,
  Point,
  Link,
  Exemplar,
  Container,
}
const VARINT = 1 << 0;
const FIXED64 = 1 << 1;
const DELIMITED = 1 << 2;
const FIXED32 = 1 << 5;
const ANY_WIRE_TYPE = VARINT | FIXED64 | DELIMITED | FIXED32;

const SCALARS: Readonly<Record<string, readonly [kind: Kind, wireTypes: number]>> = {
  varint: [Kind.Skipped, VARINT],
  fixed64: [Kind.Skipped, FIXED64],
  fixed32: [Kind.Skipped, FIXED32],
  bytes: [Kind.Skipped, DELIMITED],
  string: [Kind.String, DELIMITED],
  'packed fixed64': [Kind.PackedFixed64, FIXED64 | DELIMITED],
  'packed varint': [Kind.PackedVarint, VARINT | DELIMITED],
  trace_id: [Kind.TraceId, DELIMITED],
  span_id: [Kind.SpanId, DELIMITED],
  parent_span_id: [Kind.ParentId, DELIMITED],
  time: [Kind.Time, FIXED64],
  observed_time: [Kind.ObservedTime, FIXED64],
};
const ROLES_BY_NAME: Readonly<Record<string, Role>> = {
  Resource: Role.Resource,
  Scope: Role.Scope,
  ResourceSpans: Role.ResourceBlock,
  ResourceLogs: Role.ResourceBlock,
  ResourceMetrics: Role.ResourceBlock,
  ScopeSpans: Role.ScopeBlock,
  ScopeLogs: Role.ScopeBlock,
  ScopeMetrics: Role.ScopeBlock,
  Metric: Role.Metric,
  Gauge: Role.Data,
  Sum: Role.Data,
  Histogram: Role.Data,
  ExponentialHistogram: Role.Data,
  Summary: Role.Data,
  Span: Role.Span,
  LogRecord: Role.Log,
  NumberDataPoint: Role.Point,
  HistogramDataPoint: Role.Point,
  ExponentialHistogramDataPoint: Role.Point,
  SummaryDataPoint: Role.Point,
  Link: Role.Link,
  Exemplar: Role.Exemplar,
  ArrayValue: Role.Container,
  KeyValueList: Role.Container,
};

/** A field is looked up at `message << FIELD_BITS | number`: kind, wire types << 8, message of the field << 16. */
export const FIELD_BITS = 5;
export const NAMES = Object.keys(MESSAGES);
export const ROLES = Uint8Array.from(NAMES, (name) => ROLES_BY_NAME[name] ?? Role.None);
export const FIELDS = new Int32Array(NAMES.length << FIELD_BITS).fill(Kind.Unknown | (ANY_WIRE_TYPE << 8));
for (const [message, name] of NAMES.entries()) {
  for (const [number, [, type]] of Object.entries(MESSAGES[name])) {
    const [kind, wireTypes] = SCALARS[type] ?? [
      type === 'KeyValue' ? Kind.KeyValue : Kind.Message,
      DELIMITED,
    ];
    const target = SCALARS[type] ? 0 : NAMES.indexOf(type);
    FIELDS[(message << FIELD_BITS) | Number(number)] = kind | (wireTypes << 8) | (target << 16);
  }
}
export const UNKNOWN_FIELD = Kind.Unknown | (ANY_WIRE_TYPE << 8);
