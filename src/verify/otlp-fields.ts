import type { OtlpObject, OtlpValue } from './otlp-values.js';

/** Which field of an answer of the query API shows which OTLP field, and how: the list that `verify-otlp` goes through. */

/** What a rule gives when the answer cannot be known, as the time at which the server received a record. */
export const UNKNOWN = Symbol('unknown');

/** What the API must show for a field as it was sent in OTLP/JSON; undefined for a field that was not sent. */
export type Rule = (sent: OtlpValue | undefined) => unknown;

/**
 * `[OTLP path, API path, how]`. The OTLP path starts with the name of an enclosing message. `how` is a rule for one
 * value, a table for each member of a list, or `attributes`: every value by its key, and its type under `*_types`.
 */
export type Entry = readonly [otlp: string, api: string, how: Rule | Table | 'attributes'];
export type Table = readonly Entry[];

const NS_PER_SECOND = 1_000_000_000n;

const text: Rule = (sent) => sent ?? '';
const number: Rule = (sent) => sent ?? 0;
const bool: Rule = (sent) => sent ?? false;
const digits: Rule = (sent) => String(sent ?? 0);
const digitsList: Rule = (sent) => ((sent ?? []) as OtlpValue[]).map(digits);
const id: Rule = (sent) => String(sent ?? '').toLowerCase();
const named =
  (...names: string[]): Rule =>
  (sent) =>
    names[Number(sent ?? 0)];

/** All nine digits of the nanoseconds. */
const iso: Rule = (sent) => {
  const nanos = BigInt(digits(sent) as string);
  const seconds = new Date(Number(nanos / NS_PER_SECOND) * 1000).toISOString().slice(0, 19);
  return `${seconds}.${String(nanos % NS_PER_SECOND).padStart(9, '0')}Z`;
};

/** A JSON number while that is exact, else its digits. */
const integer: Rule = (sent) => {
  const value = Number(sent ?? 0);
  return Number.isSafeInteger(value) ? value : String(sent);
};

/** A JSON number, or text for what JSON has no number for. */
const double: Rule = (sent) => {
  const value = Number(sent ?? 0);
  if (Object.is(value, -0)) return '-0';
  return Number.isFinite(value) ? value : String(value);
};
const doubles: Rule = (sent) => ((sent ?? []) as OtlpValue[]).map(double);
const optionalDouble: Rule = (sent) => (sent === undefined ? null : double(sent));

interface Shown {
  value: unknown;
  type: string;
}

/** An AnyValue as the API shows it: JSON of its natural type, and the signature that tells what JSON cannot. */
export function shownValue(sent: OtlpValue | undefined): Shown {
  const [[kind, value]] = Object.entries((sent ?? {}) as OtlpObject).concat([['none', null]]);
  const members = () => (value as { values: OtlpValue[] }).values;
  switch (kind) {
    case 'stringValue':
      return { value, type: 's' };
    case 'boolValue':
      return { value, type: 'b' };
    case 'intValue':
      return { value: integer(value), type: 'i' };
    case 'doubleValue':
      return { value: double(value), type: 'd' };
    case 'bytesValue':
      return { value, type: 'y' };
    case 'arrayValue': {
      const shown = members().map(shownValue);
      return {
        value: shown.map((member) => member.value),
        type: `[${shown.map((member) => member.type).join('')}]`,
      };
    }
    case 'kvlistValue': {
      const shown = (members() as OtlpObject[]).map(({ key, value }) => ({
        key: String(key),
        ...shownValue(value),
      }));
      const list = Object.fromEntries(shown.map((member) => [member.key, member.value]));
      return { value: list, type: `{${shown.map((member) => member.type).join('')}}` };
    }
    default:
      return { value: null, type: 'n' };
  }
}
/** A body that was not sent has no type; an empty AnyValue has the type `n`. */
const body: Rule = (sent) => ((sent ?? null) === null ? '' : shownValue(sent).value);
const bodyType: Rule = (sent) => ((sent ?? null) === null ? '' : shownValue(sent).type);

/** Of a whole message, for what the API derives from several of its fields. */
const of =
  (derive: (message: OtlpObject) => unknown): Rule =>
  (sent) =>
    derive(sent as OtlpObject);
const lasted = of(({ startTimeUnixNano, endTimeUnixNano }) =>
  String(BigInt.asIntN(64, BigInt(String(endTimeUnixNano ?? 0)) - BigInt(String(startTimeUnixNano)))),
);
const timeSource = of(({ timeUnixNano, observedTimeUnixNano }) =>
  timeUnixNano ? 'time' : observedTimeUnixNano ? 'observed' : 'received',
);
const logTime = of(({ timeUnixNano, observedTimeUnixNano }) => {
  const time = timeUnixNano ?? observedTimeUnixNano;
  return time === undefined ? UNKNOWN : iso(time);
});
const numberValue = of(({ asInt, asDouble }) =>
  asInt !== undefined ? integer(asInt) : optionalDouble(asDouble),
);
const numberType = of(({ asInt, asDouble }) =>
  asInt !== undefined ? 'int' : asDouble !== undefined ? 'double' : 'none',
);
const serviceName = of(({ attributes }) => {
  const attribute = ((attributes ?? []) as OtlpObject[]).find(({ key }) => key === 'service.name');
  return attribute ? (attribute.value as OtlpObject).stringValue : '';
});
const temporality = named('UNSPECIFIED', 'DELTA', 'CUMULATIVE');

/** Of every item: `resource` stands for ResourceSpans, ResourceLogs or ResourceMetrics, `scope` for ScopeSpans … */
const ORIGIN: Table = [
  ['resource.resource', 'service_name', (sent) => serviceName(sent ?? {})],
  ['resource.resource.attributes', 'resource.attributes', 'attributes'],
  ['resource.resource.droppedAttributesCount', 'resource.dropped_attributes_count', number],
  ['resource.schemaUrl', 'resource.schema_url', text],
  ['scope.scope.name', 'scope.name', text],
  ['scope.scope.version', 'scope.version', text],
  ['scope.scope.attributes', 'scope.attributes', 'attributes'],
  ['scope.scope.droppedAttributesCount', 'scope.dropped_attributes_count', number],
  ['scope.schemaUrl', 'scope.schema_url', text],
];

const EVENT: Table = [
  ['member.timeUnixNano', 'time_unix_nano', digits],
  ['member.timeUnixNano', 'timestamp', iso],
  ['member.name', 'name', text],
  ['member.attributes', 'attributes', 'attributes'],
  ['member.droppedAttributesCount', 'dropped_attributes_count', number],
];

const LINK: Table = [
  ['member.traceId', 'trace_id', id],
  ['member.spanId', 'span_id', id],
  ['member.traceState', 'trace_state', text],
  ['member.attributes', 'attributes', 'attributes'],
  ['member.droppedAttributesCount', 'dropped_attributes_count', number],
  ['member.flags', 'flags', number],
];

export const SPAN: Table = [
  ...ORIGIN,
  ['item.traceId', 'trace_id', id],
  ['item.spanId', 'span_id', id],
  ['item.traceState', 'trace_state', text],
  ['item.parentSpanId', 'parent_span_id', id],
  ['item.flags', 'flags', number],
  ['item.name', 'span_name', text],
  ['item.kind', 'span_kind', named('UNSPECIFIED', 'INTERNAL', 'SERVER', 'CLIENT', 'PRODUCER', 'CONSUMER')],
  ['item.startTimeUnixNano', 'start_time_unix_nano', digits],
  ['item.startTimeUnixNano', 'timestamp', iso],
  ['item.endTimeUnixNano', 'end_time_unix_nano', digits],
  ['item', 'duration_nano', lasted],
  ['item.attributes', 'attributes', 'attributes'],
  ['item.droppedAttributesCount', 'dropped_attributes_count', number],
  ['item.events', 'events', EVENT],
  ['item.droppedEventsCount', 'dropped_events_count', number],
  ['item.links', 'links', LINK],
  ['item.droppedLinksCount', 'dropped_links_count', number],
  ['item.status.message', 'status_message', text],
  ['item.status.code', 'status_code', named('UNSET', 'OK', 'ERROR')],
];

export const LOG_RECORD: Table = [
  ...ORIGIN,
  ['item', 'timestamp_source', timeSource],
  ['item', 'timestamp', logTime],
  ['item.timeUnixNano', 'time_unix_nano', digits],
  ['item.observedTimeUnixNano', 'observed_time_unix_nano', digits],
  ['item.observedTimeUnixNano', 'observed_timestamp', (sent) => (sent === undefined ? null : iso(sent))],
  ['item.severityNumber', 'severity_number', number],
  ['item.severityText', 'severity_text', text],
  ['item.body', 'body', body],
  ['item.body', 'body_type', bodyType],
  ['item.attributes', 'attributes', 'attributes'],
  ['item.droppedAttributesCount', 'dropped_attributes_count', number],
  ['item.flags', 'flags', number],
  ['item.traceId', 'trace_id', id],
  ['item.spanId', 'span_id', id],
  ['item.eventName', 'event_name', text],
];

const EXEMPLAR: Table = [
  ['member.filteredAttributes', 'attributes', 'attributes'],
  ['member.timeUnixNano', 'time_unix_nano', digits],
  ['member.timeUnixNano', 'timestamp', iso],
  ['member', 'value', numberValue],
  ['member', 'value_type', numberType],
  ['member.traceId', 'trace_id', id],
  ['member.spanId', 'span_id', id],
];

const QUANTILE: Table = [
  ['member.quantile', 'quantile', double],
  ['member.value', 'value', double],
];

/** Of every data point; `metric` is its Metric, `data` what the Metric's `gauge`, `sum` … holds. */
const POINT: Table = [
  ...ORIGIN,
  ['metric.name', 'metric_name', text],
  ['metric.description', 'description', text],
  ['metric.unit', 'unit', text],
  ['metric.metadata', 'metadata', 'attributes'],
  ['item.attributes', 'attributes', 'attributes'],
  ['item.startTimeUnixNano', 'start_time_unix_nano', digits],
  ['item.timeUnixNano', 'time_unix_nano', digits],
  ['item.timeUnixNano', 'timestamp', iso],
  ['item.flags', 'flags', number],
];

const NUMBER_POINT: Table = [
  ...POINT,
  ['item', 'value', numberValue],
  ['item', 'value_type', numberType],
  ['item.exemplars', 'exemplars', EXEMPLAR],
];

const HISTOGRAM_POINT: Table = [
  ...POINT,
  ['data.aggregationTemporality', 'aggregation_temporality', temporality],
  ['item.count', 'count', digits],
  ['item.sum', 'sum', optionalDouble],
  ['item.min', 'min', optionalDouble],
  ['item.max', 'max', optionalDouble],
  ['item.exemplars', 'exemplars', EXEMPLAR],
];

/** By the field of Metric that holds the data. */
export const POINTS: Record<string, Table> = {
  gauge: [['metric', 'metric_type', () => 'gauge'], ...NUMBER_POINT],
  sum: [
    ['metric', 'metric_type', () => 'sum'],
    ...NUMBER_POINT,
    ['data.aggregationTemporality', 'aggregation_temporality', temporality],
    ['data.isMonotonic', 'is_monotonic', bool],
  ],
  histogram: [
    ['metric', 'metric_type', () => 'histogram'],
    ...HISTOGRAM_POINT,
    ['item.explicitBounds', 'explicit_bounds', doubles],
    ['item.bucketCounts', 'bucket_counts', digitsList],
  ],
  exponentialHistogram: [
    ['metric', 'metric_type', () => 'exponential_histogram'],
    ...HISTOGRAM_POINT,
    ['item.scale', 'scale', number],
    ['item.zeroCount', 'zero_count', digits],
    ['item.zeroThreshold', 'zero_threshold', double],
    ['item.positive.offset', 'positive.offset', number],
    ['item.positive.bucketCounts', 'positive.bucket_counts', digitsList],
    ['item.negative.offset', 'negative.offset', number],
    ['item.negative.bucketCounts', 'negative.bucket_counts', digitsList],
  ],
  summary: [
    ['metric', 'metric_type', () => 'summary'],
    ...POINT,
    ['item.count', 'count', digits],
    ['item.sum', 'sum', double],
    ['item.quantileValues', 'quantile_values', QUANTILE],
  ],
};
