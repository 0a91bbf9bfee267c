import { DiagLogLevel, diag } from '@opentelemetry/api';
import { OTLPLogExporter as JsonLogExporter } from '@opentelemetry/exporter-logs-otlp-http';
import { OTLPLogExporter } from '@opentelemetry/exporter-logs-otlp-proto';
import {
  AggregationTemporalityPreference,
  OTLPMetricExporter as JsonMetricExporter,
} from '@opentelemetry/exporter-metrics-otlp-http';
import { OTLPMetricExporter } from '@opentelemetry/exporter-metrics-otlp-proto';
import { OTLPTraceExporter as JsonTraceExporter } from '@opentelemetry/exporter-trace-otlp-http';
import { OTLPTraceExporter } from '@opentelemetry/exporter-trace-otlp-proto';
import type { LogRecordExporter } from '@opentelemetry/sdk-logs';
import type { PushMetricExporter, ResourceMetrics } from '@opentelemetry/sdk-metrics';
import type { SpanExporter } from '@opentelemetry/sdk-trace-base';
import type { DemoOptions } from './options.js';

/** What arrived, by the server's answers. */
export interface Totals {
  requests: number;
  spans: number;
  logs: number;
  points: number;
  /** Exports that failed for good, and items that the server rejected in a partial success. */
  exportErrors: number;
  lastError: string | undefined;
}

type Done = Parameters<SpanExporter['export']>[1];
interface Exporter<T> {
  export(items: T, done: Done): void;
  shutdown(): Promise<void>;
}

const countPoints = (resource: ResourceMetrics) =>
  resource.scopeMetrics
    .flatMap(({ metrics }) => metrics)
    .reduce((sum, { dataPoints }) => sum + dataPoints.length, 0);

/** The official OTLP exporters, one per signal for all services, with every answer counted. */
export class Delivery {
  readonly totals: Totals = {
    requests: 0,
    spans: 0,
    logs: 0,
    points: 0,
    exportErrors: 0,
    lastError: undefined,
  };
  readonly spans: SpanExporter;
  readonly logs: LogRecordExporter;
  readonly metrics: Record<'cumulative' | 'delta', PushMetricExporter>;
  private readonly exporters: { shutdown(): Promise<void> }[] = [];

  constructor(private readonly options: DemoOptions) {
    const { json } = options;
    const to = (signal: string) => ({ url: `${options.endpoint}/v1/${signal}`, headers: this.headers() });
    const { totals } = this;
    const traceExporter = json ? new JsonTraceExporter(to('traces')) : new OTLPTraceExporter(to('traces'));
    this.spans = this.counted(traceExporter, (spans) => (totals.spans += spans.length));
    const logExporter = json ? new JsonLogExporter(to('logs')) : new OTLPLogExporter(to('logs'));
    this.logs = this.counted(logExporter, (logs) => (totals.logs += logs.length));
    const metricExporter = (temporality: 'CUMULATIVE' | 'DELTA') => {
      const config = {
        ...to('metrics'),
        temporalityPreference: AggregationTemporalityPreference[temporality],
      };
      const exporter = json ? new JsonMetricExporter(config) : new OTLPMetricExporter(config);
      return {
        ...this.counted(exporter, (resource) => (totals.points += countPoints(resource))),
        selectAggregationTemporality: exporter.selectAggregationTemporality.bind(exporter),
        selectAggregation: exporter.selectAggregation.bind(exporter),
      };
    };
    this.metrics = { cumulative: metricExporter('CUMULATIVE'), delta: metricExporter('DELTA') };
    this.listenForPartialSuccess();
  }

  headers(): Record<string, string> {
    return this.options.key ? { authorization: `Bearer ${this.options.key}` } : {};
  }

  failed(reason: string): void {
    this.totals.exportErrors++;
    this.totals.lastError = reason;
  }

  async close(): Promise<void> {
    await Promise.all(this.exporters.map((exporter) => exporter.shutdown()));
    diag.disable();
  }

  /** The services share the exporter, so it closes with the demo and not with the first of them. */
  private counted<T>(exporter: Exporter<T>, count: (items: T) => void) {
    this.exporters.push(exporter);
    return {
      export: (items: T, done: Done) =>
        exporter.export(items, (result) => {
          if (result.code === 0) count(items);
          else this.failed(result.error?.message ?? 'export failed');
          done(result);
        }),
      forceFlush: async () => {},
      shutdown: async () => {},
    };
  }

  /** The exporters tell of a partial success only through the SDK's own log. */
  private listenForPartialSuccess(): void {
    const listen = (...words: unknown[]) => {
      const text = words.join(' ');
      if (/partial success/i.test(text)) this.failed(text);
    };
    const ignore = () => {};
    diag.setLogger(
      { error: ignore, warn: listen, info: ignore, debug: ignore, verbose: ignore },
      { logLevel: DiagLogLevel.WARN, suppressOverrideMessage: true },
    );
  }
}
