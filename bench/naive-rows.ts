/* Plain objects from a decoded OTLP request, one per row, with the columns the benchmark's bodies fill. */

interface AnyValue {
  stringValue?: string;
  intValue?: string;
  doubleValue?: number;
  boolValue?: boolean;
}
interface KeyValue {
  key: string;
  value?: AnyValue;
}
type Message = Record<string, unknown>;
type Row = Record<string, unknown>;

const list = (value: unknown) => (value ?? []) as Message[];
const hex = (value: unknown) => Buffer.from((value ?? '') as Uint8Array).toString('latin1');

function typeOf(value: AnyValue = {}): string {
  if (value.stringValue !== undefined) return 's';
  if (value.intValue !== undefined) return 'i';
  return value.doubleValue !== undefined ? 'd' : 'b';
}

function attributes(pairs: unknown): { map: Record<string, string>; types: string } {
  const map: Record<string, string> = {};
  let types = '';
  for (const { key, value } of (pairs ?? []) as KeyValue[]) {
    map[key] = String(value?.stringValue ?? value?.intValue ?? value?.doubleValue ?? value?.boolValue ?? '');
    types += typeOf(value);
  }
  return { map, types };
}

/** 18 or 19 digits of nanoseconds as the engine's text form of DateTime64(9). */
function time(nanos: unknown): string {
  const text = String(nanos ?? '0').padStart(10, '0');
  return `${text.slice(0, -9)}.${text.slice(-9)}`;
}

function common(resource: Message, scope: Message): Row {
  const { map, types } = attributes(resource.attributes);
  return {
    organization_id: 'o',
    workspace_id: 'w',
    tenant_id: 't',
    service_name: map['service.name'] ?? '',
    resource_attributes: map,
    resource_attribute_types: types,
    scope_name: scope.name ?? '',
    scope_version: scope.version ?? '',
  };
}

function spanRow(base: Row, span: Message): Row {
  const own = attributes(span.attributes);
  const events = list(span.events).map((event) => ({ event, ...attributes(event.attributes) }));
  return {
    ...base,
    timestamp: time(span.startTimeUnixNano),
    trace_id: hex(span.traceId),
    span_id: hex(span.spanId),
    parent_span_id: hex(span.parentSpanId),
    span_name: span.name,
    span_kind: Number(span.kind ?? 0),
    duration_nano: Number(span.endTimeUnixNano) - Number(span.startTimeUnixNano),
    status_code: Number((span.status as Message)?.code ?? 0),
    status_message: (span.status as Message)?.message ?? '',
    flags: span.flags ?? 0,
    attributes: own.map,
    attribute_types: own.types,
    'events.timestamp': events.map(({ event }) => time(event.timeUnixNano)),
    'events.name': events.map(({ event }) => event.name),
    'events.attributes': events.map(({ map }) => map),
    'events.attribute_types': events.map(({ types }) => types),
    'events.dropped_attributes_count': events.map(() => 0),
  };
}

function logRow(base: Row, record: Message): Row {
  const own = attributes(record.attributes);
  return {
    ...base,
    timestamp: time(record.timeUnixNano),
    observed_timestamp: time(record.observedTimeUnixNano),
    trace_id: hex(record.traceId),
    span_id: hex(record.spanId),
    flags: record.flags ?? 0,
    severity_number: record.severityNumber ?? 0,
    severity_text: record.severityText ?? '',
    body: (record.body as AnyValue)?.stringValue ?? '',
    body_type: 's',
    attributes: own.map,
    attribute_types: own.types,
  };
}

function pointRow(base: Row, metric: Message, point: Message): Row {
  const own = attributes(point.attributes);
  const sum = metric.sum as Message | undefined;
  const histogram = metric.histogram as Message | undefined;
  return {
    ...base,
    metric_name: metric.name,
    metric_type: sum ? 'sum' : histogram ? 'histogram' : 'gauge',
    unit: metric.unit ?? '',
    description: metric.description ?? '',
    aggregation_temporality: Number((sum ?? histogram)?.aggregationTemporality ?? 0),
    is_monotonic: Boolean(sum?.isMonotonic),
    timestamp: time(point.timeUnixNano),
    start_timestamp: time(point.startTimeUnixNano),
    attributes: own.map,
    attribute_types: own.types,
    value: point.asDouble ?? Number(point.asInt ?? 0),
    value_int: point.asInt ?? 0,
    value_type: point.asInt === undefined ? (point.asDouble === undefined ? 'none' : 'double') : 'int',
    count: point.count ?? 0,
    sum: point.sum ?? null,
    explicit_bounds: point.explicitBounds ?? [],
    bucket_counts: point.bucketCounts ?? [],
  };
}

/** The rows of one decoded request. */
export function* naiveRows(signal: 'traces' | 'logs' | 'metrics', message: Message): Generator<Row> {
  const resources = list(message.resourceSpans ?? message.resourceLogs ?? message.resourceMetrics);
  for (const entry of resources) {
    for (const scoped of list(entry.scopeSpans ?? entry.scopeLogs ?? entry.scopeMetrics)) {
      const base = common((entry.resource ?? {}) as Message, (scoped.scope ?? {}) as Message);
      if (signal === 'traces') for (const span of list(scoped.spans)) yield spanRow(base, span);
      if (signal === 'logs') for (const record of list(scoped.logRecords)) yield logRow(base, record);
      for (const metric of list(scoped.metrics)) {
        const data = (metric.gauge ?? metric.sum ?? metric.histogram) as Message;
        for (const point of list(data?.dataPoints)) yield pointRow(base, metric, point);
      }
    }
  }
}
