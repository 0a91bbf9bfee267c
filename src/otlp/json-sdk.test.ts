import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type Attributes, context, SpanKind, SpanStatusCode, TraceFlags, trace } from '@opentelemetry/api';
import { SeverityNumber } from '@opentelemetry/api-logs';
import {
  type ISerializer,
  JsonLogsSerializer,
  JsonMetricsSerializer,
  JsonTraceSerializer,
  ProtobufLogsSerializer,
  ProtobufMetricsSerializer,
  ProtobufTraceSerializer,
} from '@opentelemetry/otlp-transformer';
import { resourceFromAttributes } from '@opentelemetry/resources';
import { InMemoryLogRecordExporter, LoggerProvider, SimpleLogRecordProcessor } from '@opentelemetry/sdk-logs';
import {
  AggregationType,
  MeterProvider,
  MetricReader,
  type ResourceMetrics,
} from '@opentelemetry/sdk-metrics';
import {
  BasicTracerProvider,
  InMemorySpanExporter,
  SimpleSpanProcessor,
} from '@opentelemetry/sdk-trace-base';
import { otlp } from '../../test/support/otlp-proto.js';
import type { Signal } from '../signal.js';
import { jsonToProtobuf } from './json.js';

const resource = resourceFromAttributes({ 'service.name': 'shop', 'process.pid': 42, 'a.ratio': 0.5 });
const attributes: Attributes = {
  text: 'grün "quoted" \n 😀',
  yes: true,
  count: 7,
  ratio: 1.25,
  list: ['a', 'b'],
  none: [],
};
const linked = { traceId: 'ab'.repeat(16), spanId: 'cd'.repeat(8), traceFlags: TraceFlags.SAMPLED };

/** What the official SDK writes as JSON must be, once converted, what it writes as protobuf. */
function compare<T>(
  signal: Signal,
  items: T,
  json: ISerializer<T, unknown>,
  proto: ISerializer<T, unknown>,
): void {
  const read = (bytes: Uint8Array) =>
    otlp[signal].toObject(otlp[signal].decode(bytes), {
      longs: String,
      bytes: String,
      enums: Number,
      defaults: true,
    });
  assert.deepEqual(
    read(jsonToProtobuf(signal, json.serializeRequest(items)!)),
    read(proto.serializeRequest(items)!),
  );
}

test('spans of the official SDK are the same from JSON as from protobuf', () => {
  const exporter = new InMemorySpanExporter();
  const provider = new BasicTracerProvider({ resource, spanProcessors: [new SimpleSpanProcessor(exporter)] });
  const tracer = provider.getTracer('shop', '1.2.3', {
    schemaUrl: 'https://opentelemetry.io/schemas/1.30.0',
  });
  const parent = tracer.startSpan('GET /', {
    kind: SpanKind.SERVER,
    attributes,
    links: [{ context: linked, attributes }],
  });
  const child = tracer.startSpan('child', {}, trace.setSpan(context.active(), parent));
  child.recordException(new RangeError('out of stock'));
  child.setStatus({ code: SpanStatusCode.ERROR, message: 'out of stock' });
  child.end();
  parent.addEvent('done', attributes).end();
  compare('traces', exporter.getFinishedSpans(), JsonTraceSerializer, ProtobufTraceSerializer);
});

test('log records of the official SDK are the same from JSON as from protobuf', () => {
  const exporter = new InMemoryLogRecordExporter();
  const provider = new LoggerProvider({ resource, processors: [new SimpleLogRecordProcessor({ exporter })] });
  const logger = provider.getLogger('shop');
  const linkedContext = trace.setSpanContext(context.active(), linked);
  logger.emit({
    body: 'plain',
    severityNumber: SeverityNumber.WARN2,
    severityText: 'WARN',
    context: linkedContext,
  });
  logger.emit({
    body: { nested: [1, 'two', { three: 3.5, bytes: new Uint8Array([0, 255]) }] },
    eventName: 'shop.event',
  });
  logger.emit({ body: 1, attributes: { ...attributes, map: { a: [null] } } });
  compare('logs', exporter.getFinishedLogRecords(), JsonLogsSerializer, ProtobufLogsSerializer);
});

class CollectingReader extends MetricReader {
  protected async onForceFlush(): Promise<void> {}
  protected async onShutdown(): Promise<void> {}
}

async function collectMetrics(): Promise<ResourceMetrics> {
  const reader = new CollectingReader();
  const aggregation = { type: AggregationType.EXPONENTIAL_HISTOGRAM } as const;
  const provider = new MeterProvider({
    resource,
    readers: [reader],
    views: [{ instrumentName: 'exponential', aggregation }],
  });
  const meter = provider.getMeter('shop', '1.0');
  meter.createCounter('orders', { unit: '{order}', description: 'placed', valueType: 0 }).add(3, attributes);
  meter.createCounter('revenue').add(12.34);
  meter.createUpDownCounter('active').add(-5);
  meter.createGauge('temperature').record(-0.5);
  for (const name of ['latency', 'exponential']) {
    const histogram = meter.createHistogram(name, { unit: 'ms' });
    for (const value of [0, 0.1, 7, 99, 1e6]) histogram.record(value, attributes);
  }
  return (await reader.collect()).resourceMetrics;
}

test('metrics of the official SDK are the same from JSON as from protobuf', async () => {
  compare('metrics', await collectMetrics(), JsonMetricsSerializer, ProtobufMetricsSerializer);
});
