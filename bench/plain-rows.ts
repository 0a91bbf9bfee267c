import type { Signal } from '../src/signal.js';

/**
 * The plain way from decoded protobufjs messages to JSONEachRow lines, done with some care (fixed object shapes, no
 * conversion of the whole message, resources once), so that the comparison with it means something. Columns as the
 * transcoder fills them for the benchmark's bodies.
 */
interface Message {
  [field: string]: unknown;
}
interface Long {
  low: number;
  high: number;
}
const list = (value: unknown) => (value ?? []) as Message[];
const hex = (value: unknown) => {
  const bytes = value as Uint8Array;
  // A missing field is an empty array.
  if (bytes.length === 0) return '';
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('hex');
};
const decimal = (value: unknown) => {
  const { low, high } = value as Long;
  return String((BigInt(high) << 32n) | BigInt(low >>> 0));
};
const has = (message: Message, field: string) => Object.hasOwn(message, field);

function pairs(list: Message[]): { map: Record<string, string>; types: string } {
  const map: Record<string, string> = {};
  let types = '';
  for (const { key, value } of list) {
    const v = value as Message;
    if (has(v, 'stringValue')) {
      map[key as string] = v.stringValue as string;
      types += 's';
    } else if (has(v, 'intValue')) {
      map[key as string] = decimal(v.intValue);
      types += 'i';
    } else if (has(v, 'doubleValue')) {
      map[key as string] = String(v.doubleValue);
      types += 'd';
    } else {
      map[key as string] = String(v.boolValue);
      types += 'b';
    }
  }
  return { map, types };
}

interface Context {
  service: string;
  resource: { map: Record<string, string>; types: string };
  scopeName: string;
  scopeVersion: string;
}

function spanLine({ service, resource, scopeName, scopeVersion }: Context, span: Message): string {
  const own = pairs(list(span.attributes));
  const events = list(span.events);
  const eventPairs = events.map((event) => pairs(list(event.attributes)));
  const start = span.startTimeUnixNano as Long;
  const end = span.endTimeUnixNano as Long;
  return JSON.stringify({
    timestamp: decimal(start),
    trace_id: hex(span.traceId),
    span_id: hex(span.spanId),
    parent_span_id: hex(span.parentSpanId),
    flags: span.flags,
    service_name: service,
    span_name: span.name,
    span_kind: span.kind,
    duration_nano: (end.high - start.high) * 4294967296 + ((end.low >>> 0) - (start.low >>> 0)),
    status_code: (span.status as Message | undefined)?.code ?? 0,
    status_message: (span.status as Message | undefined)?.message ?? '',
    attributes: own.map,
    attribute_types: own.types,
    'events.timestamp': events.map((event) => decimal(event.timeUnixNano)),
    'events.name': events.map((event) => event.name),
    'events.attributes': eventPairs.map(({ map }) => map),
    'events.attribute_types': eventPairs.map(({ types }) => types),
    resource_attributes: resource.map,
    resource_attribute_types: resource.types,
    scope_name: scopeName,
    scope_version: scopeVersion,
  });
}

function logLine({ service, resource, scopeName, scopeVersion }: Context, record: Message): string {
  const own = pairs(list(record.attributes));
  return JSON.stringify({
    timestamp: decimal(record.timeUnixNano),
    observed_timestamp: decimal(record.observedTimeUnixNano),
    trace_id: hex(record.traceId),
    span_id: hex(record.spanId),
    flags: record.flags,
    severity_number: record.severityNumber,
    severity_text: record.severityText,
    service_name: service,
    body: (record.body as Message).stringValue,
    body_type: 's',
    attributes: own.map,
    attribute_types: own.types,
    resource_attributes: resource.map,
    resource_attribute_types: resource.types,
    scope_name: scopeName,
    scope_version: scopeVersion,
  });
}

function pointLine(context: Context, metric: Message, sum: Message | undefined, point: Message): string {
  const own = pairs(list(point.attributes));
  const isInt = has(point, 'asInt');
  return JSON.stringify({
    timestamp: decimal(point.timeUnixNano),
    start_timestamp: decimal(point.startTimeUnixNano),
    service_name: context.service,
    metric_name: metric.name,
    metric_type: sum ? 2 : 1,
    unit: metric.unit,
    description: metric.description,
    aggregation_temporality: sum?.aggregationTemporality ?? 0,
    is_monotonic: sum?.isMonotonic ?? false,
    attributes: own.map,
    attribute_types: own.types,
    value: isInt ? Number(decimal(point.asInt)) : point.asDouble,
    value_int: isInt ? decimal(point.asInt) : 0,
    value_type: isInt ? 2 : 1,
    resource_attributes: context.resource.map,
    resource_attribute_types: context.resource.types,
    scope_name: context.scopeName,
    scope_version: context.scopeVersion,
  });
}

/** Gives every item of a decoded request to `emit` as a JSON line. */
export function plainRows(signal: Signal, message: Message, emit: (line: string) => void): void {
  for (const block of list(message.resourceSpans ?? message.resourceLogs ?? message.resourceMetrics)) {
    const resource = pairs(list((block.resource as Message).attributes));
    for (const scoped of list(block.scopeSpans ?? block.scopeLogs ?? block.scopeMetrics)) {
      const scope = scoped.scope as Message;
      const service = resource.map['service.name'];
      const context = {
        service,
        resource,
        scopeName: scope.name as string,
        scopeVersion: scope.version as string,
      };
      if (signal === 'traces') for (const span of list(scoped.spans)) emit(spanLine(context, span));
      if (signal === 'logs') for (const record of list(scoped.logRecords)) emit(logLine(context, record));
      for (const metric of list(scoped.metrics)) {
        const sum = has(metric, 'sum') ? (metric.sum as Message) : undefined;
        const { dataPoints } = sum ?? (metric.gauge as Message);
        for (const point of list(dataPoints)) emit(pointLine(context, metric, sum, point));
      }
    }
  }
}

const COMMON =
  'timestamp Int64, service_name String, attributes Map(String, String), attribute_types String, resource_attributes Map(String, String), resource_attribute_types String, scope_name String, scope_version String';
const IDS = 'trace_id String, span_id String, flags UInt32';

/** The lines' columns, for `file(..., JSONEachRow, '<structure>')`; ids are hexadecimal, times nanoseconds. */
export const PLAIN_STRUCTURE: Record<Signal, string> = {
  traces: `${COMMON}, ${IDS}, parent_span_id String, span_name String, span_kind Int8, duration_nano Int64, status_code Int8, status_message String, \`events.timestamp\` Array(Int64), \`events.name\` Array(String), \`events.attributes\` Array(Map(String, String)), \`events.attribute_types\` Array(String)`,
  logs: `${COMMON}, ${IDS}, observed_timestamp Int64, severity_number Int32, severity_text String, body String, body_type String`,
  metrics: `${COMMON}, start_timestamp Int64, metric_name String, metric_type Int8, unit String, description String, aggregation_temporality Int8, is_monotonic Bool, value Float64, value_int Int64, value_type Int8`,
};

/** An expression per column that is not stored as it stands in the lines. */
const CONVERTED: Record<string, string> = {
  timestamp: 'fromUnixTimestamp64Nano(timestamp)',
  start_timestamp: 'fromUnixTimestamp64Nano(start_timestamp)',
  observed_timestamp: 'fromUnixTimestamp64Nano(observed_timestamp)',
  trace_id: 'unhex(trace_id)',
  span_id: 'unhex(span_id)',
  parent_span_id: 'unhex(parent_span_id)',
  'events.timestamp': 'arrayMap(t -> fromUnixTimestamp64Nano(t), `events.timestamp`)',
  'events.dropped_attributes_count': 'arrayMap(n -> 0, `events.name`)',
};

/** The statement that stores a file of such lines. */
export function plainInsert(signal: Signal, path: string): string {
  const structure = PLAIN_STRUCTURE[signal];
  const names = [...structure.matchAll(/(?:^|, )`?([a-z_.]+)`? [A-Z]/g)].map((match) => match[1]);
  if (signal === 'traces') names.push('events.dropped_attributes_count');
  const columns = names.map((name) => `\`${name}\``);
  const values = names.map((name, index) => CONVERTED[name] ?? columns[index]);
  return `INSERT INTO telemetry_${signal} (organization_id, workspace_id, tenant_id, ${columns.join(', ')})
    SELECT 'o', 'w', 't', ${values.join(', ')} FROM file('${path}', JSONEachRow, '${structure}')
    SETTINGS max_threads = 1, max_insert_threads = 1`;
}
