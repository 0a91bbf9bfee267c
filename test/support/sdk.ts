import assert from 'node:assert/strict';
import { setTimeout as sleep } from 'node:timers/promises';
import { resourceFromAttributes } from '@opentelemetry/resources';
import { BatchLogRecordProcessor, LoggerProvider, type LogRecordExporter } from '@opentelemetry/sdk-logs';
import {
  MeterProvider,
  PeriodicExportingMetricReader,
  type PushMetricExporter,
} from '@opentelemetry/sdk-metrics';
import { BasicTracerProvider, BatchSpanProcessor, type SpanExporter } from '@opentelemetry/sdk-trace-base';
import { getJson } from './http.js';

/** Freshness as promised is a second; machines that run tests are slow. */
const MAX_FRESHNESS_MS = 10_000;

export interface Exporters {
  Traces: new () => SpanExporter;
  Logs: new () => LogRecordExporter;
  Metrics: new () => PushMetricExporter;
}

/** What an environment tells an application, in the SDK's own variables. */
export interface ExporterSettings {
  endpoint: string;
  compression: string;
  headers?: string;
}

/** An application with the SDK for all signals, told nothing but what its environment says. */
export function instrument(
  { Traces, Logs, Metrics }: Exporters,
  { endpoint, compression, headers = '' }: ExporterSettings,
  service: string,
) {
  process.env.OTEL_EXPORTER_OTLP_ENDPOINT = endpoint;
  process.env.OTEL_EXPORTER_OTLP_COMPRESSION = compression;
  process.env.OTEL_EXPORTER_OTLP_HEADERS = headers;
  const resource = resourceFromAttributes({ 'service.name': service });
  const traces = new BasicTracerProvider({
    resource,
    spanProcessors: [new BatchSpanProcessor(new Traces())],
  });
  const logs = new LoggerProvider({
    resource,
    processors: [new BatchLogRecordProcessor({ exporter: new Logs() })],
  });
  const reader = new PeriodicExportingMetricReader({
    exporter: new Metrics(),
    exportIntervalMillis: 600_000,
  });
  const metrics = new MeterProvider({ resource, readers: [reader] });
  const all = [traces, logs, metrics];
  return {
    traces,
    logs,
    metrics,
    flush: () => Promise.allSettled(all.map((provider) => provider.forceFlush())),
    flushTraces: () => traces.forceFlush(),
    shutdown: () => Promise.allSettled(all.map((provider) => provider.shutdown())),
  };
}

/** A JSON answer, of which tests read what they expect to be there. */
// biome-ignore lint/suspicious/noExplicitAny: a wrong shape fails the test that reads it
export type Json = any;

/** Asks until the answer is as wanted; the answer at last. */
export async function ask(url: string, key: string, isWanted: (body: Json) => boolean): Promise<Json> {
  const startedAt = performance.now();
  for (;;) {
    const { status, body } = await getJson(url, key);
    if (status === 200 && isWanted(body)) return body;
    const tookMs = performance.now() - startedAt;
    assert.ok(
      tookMs < MAX_FRESHNESS_MS,
      `${url} after ${tookMs.toFixed()} ms: ${status} ${JSON.stringify(body)}`,
    );
    await sleep(20);
  }
}
