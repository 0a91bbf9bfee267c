import fc from 'fast-check';
import type { Signal } from '../../src/signal.js';

/**
 * Random OTLP requests as protobufjs' `fromObject` takes them, every field of every message among them. 64-bit
 * integers are decimal text. All items are ones that must be accepted.
 */

const text = fc.string({ unit: 'binary', maxLength: 12 });
const uint32 = fc.oneof(fc.constantFrom(0, 1, 127, 128, 0xffffffff), fc.nat({ max: 0xffffffff }));
const uint64 = fc
  .oneof(fc.constantFrom(0n, 1n, 2n ** 53n + 1n, 2n ** 63n, 2n ** 64n - 1n), fc.bigInt(0n, 2n ** 64n - 1n))
  .map(String);
const int64 = fc
  .oneof(
    fc.constantFrom(0n, -1n, 127n, 128n, -(2n ** 63n), 2n ** 63n - 1n, 2n ** 53n + 1n, -(2n ** 53n) - 1n),
    fc.bigInt(-(2n ** 63n), 2n ** 63n - 1n),
    fc.bigInt(-1000n, 100000n),
  )
  .map(String);
const double = fc.oneof(
  fc.double(),
  fc.constantFrom(0, -0, NaN, Infinity, -Infinity, 1e21, 1e-7, 5e-324, Number.MAX_VALUE),
  fc.integer({ min: -1e6, max: 1e6 }).map((n) => n / 100),
);
const id = (length: number) => fc.uint8Array({ minLength: length, maxLength: length });
const requiredId = (length: number) => id(length).filter((bytes) => bytes.some((byte) => byte !== 0));
const optionalId = (length: number) => fc.oneof(id(length), fc.constant(new Uint8Array(0)));
/** Fields may be missing. */
const message = <T extends Record<string, fc.Arbitrary<unknown>>>(fields: T) =>
  fc.record(fields, { requiredKeys: [] });

const { value: anyValue } = fc.letrec<{ value: object; pair: object }>((tie) => ({
  value: fc.oneof(
    { depthSize: 'small', withCrossShrink: true },
    fc.record({ stringValue: fc.oneof(text, fc.string({ minLength: 120, maxLength: 300 })) }),
    fc.record({ boolValue: fc.boolean() }),
    fc.record({ intValue: int64 }),
    fc.record({ doubleValue: double }),
    fc.record({ bytesValue: fc.uint8Array({ maxLength: 8 }) }),
    fc.constant({}),
    fc.record({ arrayValue: fc.record({ values: fc.array(tie('value'), { maxLength: 4 }) }) }),
    fc.record({ kvlistValue: fc.record({ values: fc.array(tie('pair'), { maxLength: 4 }) }) }),
  ),
  pair: message({ key: text, value: tie('value') }),
}));
const keys = fc.oneof(fc.constantFrom('service.name', 'a', 'b', '__proto__', 'constructor', ''), text);
const attributes = fc.array(message({ key: keys, value: anyValue }), { maxLength: 5 });
const resource = message({ attributes, droppedAttributesCount: uint32 });
const scope = message({ name: text, version: text, attributes, droppedAttributesCount: uint32 });

/** Times within the day before `nowMs`, to the nanosecond. */
const recent = (nowMs: number) =>
  fc.bigInt(0n, 86_000_000_000_000n).map((age) => String(BigInt(nowMs) * 1_000_000n - age));

function spans(nowMs: number) {
  const event = message({ timeUnixNano: uint64, name: text, attributes, droppedAttributesCount: uint32 });
  const link = message({
    traceId: optionalId(16),
    spanId: optionalId(8),
    traceState: text,
    attributes,
    droppedAttributesCount: uint32,
    flags: uint32,
  });
  const rest = message({
    traceState: text,
    parentSpanId: optionalId(8),
    name: text,
    kind: fc.integer({ min: -1, max: 7 }),
    endTimeUnixNano: uint64,
    attributes,
    droppedAttributesCount: uint32,
    events: fc.array(event, { maxLength: 3 }),
    droppedEventsCount: uint32,
    links: fc.array(link, { maxLength: 3 }),
    droppedLinksCount: uint32,
    status: message({ message: text, code: fc.integer({ min: 0, max: 4 }) }),
    flags: uint32,
  });
  const required = fc.record({
    traceId: requiredId(16),
    spanId: requiredId(8),
    startTimeUnixNano: recent(nowMs),
  });
  return fc.tuple(required, rest).map(([a, b]) => ({ ...a, ...b }));
}

function logRecords(nowMs: number) {
  return message({
    timeUnixNano: recent(nowMs),
    observedTimeUnixNano: recent(nowMs),
    severityNumber: fc.integer({ min: -1, max: 30 }),
    severityText: text,
    body: anyValue,
    attributes,
    droppedAttributesCount: uint32,
    flags: uint32,
    traceId: optionalId(16),
    spanId: optionalId(8),
    eventName: text,
  });
}

function metrics(nowMs: number) {
  const value = fc.oneof(fc.record({ asDouble: double }), fc.record({ asInt: int64 }), fc.constant({}));
  const withValue = <T extends object>(fields: fc.Arbitrary<T>) =>
    fc.tuple(fields, value).map(([a, b]) => ({ ...a, ...b }));
  const exemplar = withValue(
    message({
      filteredAttributes: attributes,
      timeUnixNano: uint64,
      spanId: optionalId(8),
      traceId: optionalId(16),
    }),
  );
  const exemplars = fc.array(exemplar, { maxLength: 2 });
  const common = { startTimeUnixNano: uint64, attributes, flags: uint32 };
  const point = <T extends object>(fields: fc.Arbitrary<T>) =>
    fc.tuple(fields, recent(nowMs)).map(([a, timeUnixNano]) => ({ ...a, timeUnixNano }));
  const points = <T extends object>(fields: fc.Arbitrary<T>) => fc.array(point(fields), { maxLength: 3 });
  const stats = { count: uint64, sum: double };
  const range = { min: double, max: double };
  const buckets = message({ offset: fc.integer(), bucketCounts: fc.array(uint64, { maxLength: 4 }) });
  const temporality = fc.integer({ min: 0, max: 4 });
  const numberPoints = points(withValue(message({ ...common, exemplars })));
  const data = fc.oneof(
    fc.record({ gauge: message({ dataPoints: numberPoints }) }),
    fc.record({
      sum: message({
        dataPoints: numberPoints,
        aggregationTemporality: temporality,
        isMonotonic: fc.boolean(),
      }),
    }),
    fc.record({
      histogram: message({
        dataPoints: points(
          message({
            ...common,
            ...stats,
            ...range,
            bucketCounts: fc.array(uint64, { maxLength: 4 }),
            explicitBounds: fc.array(double, { maxLength: 4 }),
            exemplars,
          }),
        ),
        aggregationTemporality: temporality,
      }),
    }),
    fc.record({
      exponentialHistogram: message({
        dataPoints: points(
          message({
            ...common,
            ...stats,
            ...range,
            scale: fc.integer(),
            zeroCount: uint64,
            zeroThreshold: double,
            positive: buckets,
            negative: buckets,
            exemplars,
          }),
        ),
        aggregationTemporality: temporality,
      }),
    }),
    fc.record({
      summary: message({
        dataPoints: points(
          message({
            ...common,
            ...stats,
            quantileValues: fc.array(message({ quantile: double, value: double }), { maxLength: 3 }),
          }),
        ),
      }),
    }),
    fc.constant({}),
  );
  const head = message({ name: text, description: text, unit: text, metadata: attributes });
  return fc.tuple(head, data).map(([a, b]) => ({ ...a, ...b }));
}

/** Random Export*ServiceRequest objects whose items arrived by `nowMs`. */
export function otlpRequest(signal: Signal, nowMs: number): fc.Arbitrary<object> {
  const list = (items: fc.Arbitrary<object>) => fc.array(items, { maxLength: 4 });
  if (signal === 'traces') {
    const scopeSpans = list(message({ scope, spans: list(spans(nowMs)), schemaUrl: text }));
    return message({ resourceSpans: list(message({ resource, scopeSpans, schemaUrl: text })) });
  }
  if (signal === 'logs') {
    const scopeLogs = list(message({ scope, logRecords: list(logRecords(nowMs)), schemaUrl: text }));
    return message({ resourceLogs: list(message({ resource, scopeLogs, schemaUrl: text })) });
  }
  const scopeMetrics = list(message({ scope, metrics: list(metrics(nowMs)), schemaUrl: text }));
  return message({ resourceMetrics: list(message({ resource, scopeMetrics, schemaUrl: text })) });
}
