import type { Meter, Tracer } from '@opentelemetry/api';
import type { Logger } from '@opentelemetry/api-logs';
import { type Resource, resourceFromAttributes } from '@opentelemetry/resources';
import { BatchLogRecordProcessor, LoggerProvider } from '@opentelemetry/sdk-logs';
import { AggregationType, MeterProvider, PeriodicExportingMetricReader } from '@opentelemetry/sdk-metrics';
import { BasicTracerProvider, BatchSpanProcessor, type IdGenerator } from '@opentelemetry/sdk-trace-base';
import type { Delivery } from './delivery.js';
import { Instruments } from './instruments.js';
import type { Random } from './random.js';
import { SERVICES, type ServiceName } from './topology.js';

const METRIC_INTERVAL_MS = 5000;
const BATCH_DELAY_MS = 500;
/** Enough for 30 s of a fast demo while the server restarts. */
const MAX_QUEUE = 65_536;
const SCOPE = 'shop.telemetry';
const SCHEMA_URL = 'https://opentelemetry.io/schemas/1.37.0';

/** One service of the shop: its own resource, and a provider per signal, as if it were its own process. */
export class Service {
  readonly tracer: Tracer;
  readonly logger: Logger;
  readonly meter: Meter;
  readonly instruments: Instruments;
  readonly resource: Resource;
  private readonly providers: { forceFlush(): Promise<void>; shutdown(): Promise<void> }[];

  constructor(
    readonly name: ServiceName,
    delivery: Delivery,
    idGenerator: IdGenerator,
    random: Random,
  ) {
    const { version, temporality } = SERVICES[name];
    const resource = resourceOf(name, random);
    const batch = { scheduledDelayMillis: BATCH_DELAY_MS, maxQueueSize: MAX_QUEUE, maxExportBatchSize: 512 };
    const traces = new BasicTracerProvider({
      resource,
      idGenerator,
      spanProcessors: [new BatchSpanProcessor(delivery.spans, batch)],
    });
    const logs = new LoggerProvider({
      resource,
      processors: [new BatchLogRecordProcessor({ exporter: delivery.logs, ...batch })],
    });
    const reader = new PeriodicExportingMetricReader({
      exporter: delivery.metrics[temporality],
      exportIntervalMillis: METRIC_INTERVAL_MS,
      exportTimeoutMillis: METRIC_INTERVAL_MS,
    });
    const metrics = new MeterProvider({
      resource,
      readers: [reader],
      views: [{ instrumentName: 'db.*', aggregation: { type: AggregationType.EXPONENTIAL_HISTOGRAM } }],
    });
    this.resource = resource;
    this.tracer = traces.getTracer(SCOPE, version, { schemaUrl: SCHEMA_URL });
    this.logger = logs.getLogger(SCOPE, version, { schemaUrl: SCHEMA_URL });
    this.meter = metrics.getMeter(SCOPE, version, { schemaUrl: SCHEMA_URL });
    this.instruments = new Instruments(name, this.meter, random);
    this.providers = [traces, logs, metrics];
  }

  async flush(): Promise<void> {
    await Promise.all(this.providers.map((provider) => provider.forceFlush()));
  }

  async shutdown(): Promise<void> {
    await Promise.all(this.providers.map((provider) => provider.shutdown()));
  }
}

function resourceOf(name: ServiceName, random: Random): Resource {
  const { version, language, runtime } = SERVICES[name];
  const pod = `${name}-${random.hex(8)}-${random.hex(5)}`;
  return resourceFromAttributes({
    'service.name': name,
    'service.namespace': 'shop',
    'service.version': version,
    'service.instance.id': pod,
    'deployment.environment.name': 'demo',
    'telemetry.sdk.language': language,
    'process.runtime.description': runtime,
    'process.pid': random.integer(1, 60_000),
    'host.name': `node-${random.integer(1, 3)}`,
    'k8s.namespace.name': 'shop',
    'k8s.pod.name': pod,
    'cloud.provider': 'aws',
    'cloud.region': 'eu-central-1',
  });
}

/** Ids that a seed repeats. */
export function idsFrom(random: Random): IdGenerator {
  return { generateTraceId: () => random.hex(32), generateSpanId: () => random.hex(16) };
}
