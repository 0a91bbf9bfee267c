/**
 * OTLP's messages as OTLP/JSON names them (opentelemetry-proto 1.9): field name -> [protobuf field number, type].
 * A type is a scalar of SCALARS or the name of a message; `[]` behind it makes it repeated. Numbers and enums that
 * repeat are packed. `id` is bytes written as hex, `bytes` is base64, `enum` a number (names are not allowed).
 *
 * Left out, so ignored like any unknown field: Resource.entityRefs and the string-table indexes of AnyValue and
 * KeyValue, which are for profiles only.
 */
const MESSAGES: Record<string, Record<string, readonly [number: number, type: string]>> = {
  ExportTraceServiceRequest: { resourceSpans: [1, 'ResourceSpans[]'] },
  ExportLogsServiceRequest: { resourceLogs: [1, 'ResourceLogs[]'] },
  ExportMetricsServiceRequest: { resourceMetrics: [1, 'ResourceMetrics[]'] },

  AnyValue: {
    stringValue: [1, 'string'],
    boolValue: [2, 'bool'],
    intValue: [3, 'int64'],
    doubleValue: [4, 'double'],
    arrayValue: [5, 'ArrayValue'],
    kvlistValue: [6, 'KeyValueList'],
    bytesValue: [7, 'bytes'],
  },
  ArrayValue: { values: [1, 'AnyValue[]'] },
  KeyValueList: { values: [1, 'KeyValue[]'] },
  KeyValue: { key: [1, 'string'], value: [2, 'AnyValue'] },
  Resource: { attributes: [1, 'KeyValue[]'], droppedAttributesCount: [2, 'uint32'] },
  InstrumentationScope: {
    name: [1, 'string'],
    version: [2, 'string'],
    attributes: [3, 'KeyValue[]'],
    droppedAttributesCount: [4, 'uint32'],
  },

  ResourceSpans: { resource: [1, 'Resource'], scopeSpans: [2, 'ScopeSpans[]'], schemaUrl: [3, 'string'] },
  ScopeSpans: { scope: [1, 'InstrumentationScope'], spans: [2, 'Span[]'], schemaUrl: [3, 'string'] },
  Span: {
    traceId: [1, 'id'],
    spanId: [2, 'id'],
    traceState: [3, 'string'],
    parentSpanId: [4, 'id'],
    name: [5, 'string'],
    kind: [6, 'enum'],
    startTimeUnixNano: [7, 'fixed64'],
    endTimeUnixNano: [8, 'fixed64'],
    attributes: [9, 'KeyValue[]'],
    droppedAttributesCount: [10, 'uint32'],
    events: [11, 'Event[]'],
    droppedEventsCount: [12, 'uint32'],
    links: [13, 'Link[]'],
    droppedLinksCount: [14, 'uint32'],
    status: [15, 'Status'],
    flags: [16, 'fixed32'],
  },
  Event: {
    timeUnixNano: [1, 'fixed64'],
    name: [2, 'string'],
    attributes: [3, 'KeyValue[]'],
    droppedAttributesCount: [4, 'uint32'],
  },
  Link: {
    traceId: [1, 'id'],
    spanId: [2, 'id'],
    traceState: [3, 'string'],
    attributes: [4, 'KeyValue[]'],
    droppedAttributesCount: [5, 'uint32'],
    flags: [6, 'fixed32'],
  },
  Status: { message: [2, 'string'], code: [3, 'enum'] },

  ResourceLogs: { resource: [1, 'Resource'], scopeLogs: [2, 'ScopeLogs[]'], schemaUrl: [3, 'string'] },
  ScopeLogs: { scope: [1, 'InstrumentationScope'], logRecords: [2, 'LogRecord[]'], schemaUrl: [3, 'string'] },
  LogRecord: {
    timeUnixNano: [1, 'fixed64'],
    severityNumber: [2, 'enum'],
    severityText: [3, 'string'],
    body: [5, 'AnyValue'],
    attributes: [6, 'KeyValue[]'],
    droppedAttributesCount: [7, 'uint32'],
    flags: [8, 'fixed32'],
    traceId: [9, 'id'],
    spanId: [10, 'id'],
    observedTimeUnixNano: [11, 'fixed64'],
    eventName: [12, 'string'],
  },

  ResourceMetrics: {
    resource: [1, 'Resource'],
    scopeMetrics: [2, 'ScopeMetrics[]'],
    schemaUrl: [3, 'string'],
  },
  ScopeMetrics: { scope: [1, 'InstrumentationScope'], metrics: [2, 'Metric[]'], schemaUrl: [3, 'string'] },
  Metric: {
    name: [1, 'string'],
    description: [2, 'string'],
    unit: [3, 'string'],
    gauge: [5, 'Gauge'],
    sum: [7, 'Sum'],
    histogram: [9, 'Histogram'],
    exponentialHistogram: [10, 'ExponentialHistogram'],
    summary: [11, 'Summary'],
    metadata: [12, 'KeyValue[]'],
  },
  Gauge: { dataPoints: [1, 'NumberDataPoint[]'] },
  Sum: {
    dataPoints: [1, 'NumberDataPoint[]'],
    aggregationTemporality: [2, 'enum'],
    isMonotonic: [3, 'bool'],
  },
  Histogram: { dataPoints: [1, 'HistogramDataPoint[]'], aggregationTemporality: [2, 'enum'] },
  ExponentialHistogram: {
    dataPoints: [1, 'ExponentialHistogramDataPoint[]'],
    aggregationTemporality: [2, 'enum'],
  },
  Summary: { dataPoints: [1, 'SummaryDataPoint[]'] },
  NumberDataPoint: {
    startTimeUnixNano: [2, 'fixed64'],
    timeUnixNano: [3, 'fixed64'],
    asDouble: [4, 'double'],
    exemplars: [5, 'Exemplar[]'],
    asInt: [6, 'sfixed64'],
    attributes: [7, 'KeyValue[]'],
    flags: [8, 'uint32'],
  },
  HistogramDataPoint: {
    startTimeUnixNano: [2, 'fixed64'],
    timeUnixNano: [3, 'fixed64'],
    count: [4, 'fixed64'],
    sum: [5, 'double'],
    bucketCounts: [6, 'fixed64[]'],
    explicitBounds: [7, 'double[]'],
    exemplars: [8, 'Exemplar[]'],
    attributes: [9, 'KeyValue[]'],
    flags: [10, 'uint32'],
    min: [11, 'double'],
    max: [12, 'double'],
  },
  ExponentialHistogramDataPoint: {
    attributes: [1, 'KeyValue[]'],
    startTimeUnixNano: [2, 'fixed64'],
    timeUnixNano: [3, 'fixed64'],
    count: [4, 'fixed64'],
    sum: [5, 'double'],
    scale: [6, 'sint32'],
    zeroCount: [7, 'fixed64'],
    positive: [8, 'Buckets'],
    negative: [9, 'Buckets'],
    flags: [10, 'uint32'],
    exemplars: [11, 'Exemplar[]'],
    min: [12, 'double'],
    max: [13, 'double'],
    zeroThreshold: [14, 'double'],
  },
  Buckets: { offset: [1, 'sint32'], bucketCounts: [2, 'uint64[]'] },
  SummaryDataPoint: {
    startTimeUnixNano: [2, 'fixed64'],
    timeUnixNano: [3, 'fixed64'],
    count: [4, 'fixed64'],
    sum: [5, 'double'],
    quantileValues: [6, 'ValueAtQuantile[]'],
    attributes: [7, 'KeyValue[]'],
    flags: [8, 'uint32'],
  },
  ValueAtQuantile: { quantile: [1, 'double'], value: [2, 'double'] },
  Exemplar: {
    timeUnixNano: [2, 'fixed64'],
    asDouble: [3, 'double'],
    spanId: [4, 'id'],
    traceId: [5, 'id'],
    asInt: [6, 'sfixed64'],
    filteredAttributes: [7, 'KeyValue[]'],
  },
};

/** Scalar types and the protobuf wire type of each (0 varint, 1 eight bytes, 2 length and bytes, 5 four bytes). */
const SCALARS = {
  string: 2,
  bytes: 2,
  id: 2,
  bool: 0,
  enum: 0,
  uint32: 0,
  sint32: 0,
  int64: 0,
  uint64: 0,
  fixed32: 5,
  fixed64: 1,
  sfixed64: 1,
  double: 1,
} as const;
export type ScalarType = keyof typeof SCALARS;

export interface Field {
  readonly name: string;
  readonly key: Uint8Array;
  /** Field number and wire type, as they stand before the value. */
  readonly tag: number;
  readonly type: ScalarType | 'message';
  /** The message's fields, when `type` is `message`. */
  readonly message: MessageType | undefined;
  readonly repeated: boolean;
  readonly packed: boolean;
}

/** The fields of one message, found by the bytes of their JSON name. */
export class MessageType {
  private readonly byKeyLength: Field[][] = [];

  add(field: Field): void {
    while (this.byKeyLength.length <= field.key.length) this.byKeyLength.push([]);
    this.byKeyLength[field.key.length].push(field);
  }

  /** The field called `text[start, end)`, if OTLP has it. */
  find(text: Uint8Array, start: number, end: number): Field | undefined {
    const length = end - start;
    if (length >= this.byKeyLength.length) return undefined;
    const candidates = this.byKeyLength[length];
    next: for (let index = 0; index < candidates.length; index++) {
      const { key } = candidates[index];
      for (let offset = 0; offset < length; offset++) {
        if (key[offset] !== text[start + offset]) continue next;
      }
      return candidates[index];
    }
    return undefined;
  }
}

function compile(): Record<string, MessageType> {
  const types = Object.fromEntries(Object.keys(MESSAGES).map((name) => [name, new MessageType()]));
  for (const [messageName, fields] of Object.entries(MESSAGES)) {
    for (const [name, [number, declared]] of Object.entries(fields)) {
      const repeated = declared.endsWith('[]');
      const bare = repeated ? declared.slice(0, -2) : declared;
      const message = types[bare];
      if (!message && !(bare in SCALARS)) throw new Error(`${messageName}.${name}: no type ${bare}`);
      const type = message ? 'message' : (bare as ScalarType);
      const packed = repeated && type !== 'message';
      const wireType = packed || type === 'message' ? 2 : SCALARS[type];
      const tag = number * 8 + wireType;
      types[messageName].add({ name, key: Buffer.from(name), tag, type, message, repeated, packed });
    }
  }
  return types;
}

const TYPES = compile();

/** The request message of each signal. */
export const REQUESTS = {
  traces: TYPES.ExportTraceServiceRequest,
  logs: TYPES.ExportLogsServiceRequest,
  metrics: TYPES.ExportMetricsServiceRequest,
} as const;
