import assert from 'node:assert/strict';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { after, before, describe, it } from 'node:test';
import type { DemoOptions } from '../demo/options.js';
import { parseOptions } from '../demo/options.js';
import { type DemoResult, runDemo } from '../demo/run.js';
import { jsonToProtobuf } from '../src/otlp/json.js';
import type { Signal } from '../src/signal.js';
import { otlp } from './support/otlp-proto.js';

interface Span {
  traceId: string;
  spanId: string;
  parentSpanId?: string;
  service: string;
  kind: number;
  startTimeUnixNano: string;
  endTimeUnixNano: string;
  status?: { code?: number };
  links?: { traceId: string; spanId: string }[];
  events?: { name: string }[];
}
interface LogRecord {
  traceId?: string;
  severityNumber: number;
}
interface Metric {
  name: string;
  [kind: string]: unknown;
}

/** Takes OTLP like a server does and keeps it. */
class Receiver {
  readonly spans: Span[] = [];
  readonly logs: LogRecord[] = [];
  readonly metrics: Metric[] = [];
  points = 0;
  readonly contentTypes = new Set<string>();
  /** Answers this instead of 200. */
  status = 200;
  readonly server: Server = createServer((request, response) => {
    const chunks: Buffer[] = [];
    request.on('data', (chunk: Buffer) => chunks.push(chunk));
    request.on('end', () => {
      const type = request.headers['content-type'] ?? '';
      const json = type === 'application/json';
      if (this.status === 200)
        this.take(request.url!.slice('/v1/'.length) as Signal, Buffer.concat(chunks), json);
      this.contentTypes.add(type);
      response.writeHead(this.status, { 'content-type': type }).end(json ? '{}' : '');
    });
  });

  async listen(): Promise<string> {
    await new Promise<void>((resolve) => this.server.listen(0, '127.0.0.1', resolve));
    return `http://127.0.0.1:${(this.server.address() as AddressInfo).port}`;
  }

  private take(signal: Signal, body: Uint8Array, json: boolean): void {
    const bytes = json ? jsonToProtobuf(signal, body) : body;
    const request = otlp[signal].toObject(otlp[signal].decode(bytes), { longs: String, bytes: String }) as {
      [resources: string]: { [scopes: string]: { [items: string]: object[] }[] }[];
    };
    for (const resource of Object.values(request).flat()) {
      const { attributes } = (
        resource as unknown as { resource: { attributes: { value: { stringValue: string } }[] } }
      ).resource;
      const service = attributes[0].value.stringValue;
      for (const scope of resource.scopeSpans ?? [])
        for (const span of scope.spans) this.spans.push({ ...(span as Span), service });
      for (const scope of resource.scopeLogs ?? []) this.logs.push(...(scope.logRecords as LogRecord[]));
      for (const scope of resource.scopeMetrics ?? [])
        for (const metric of scope.metrics) this.takeMetric(metric as Metric);
    }
  }

  private takeMetric(metric: Metric): void {
    this.metrics.push(metric);
    for (const kind of KINDS)
      this.points += (metric[kind] as { dataPoints: object[] } | undefined)?.dataPoints.length ?? 0;
  }
}

const KINDS = ['gauge', 'sum', 'histogram', 'exponentialHistogram', 'summary'];
const NEVER = new AbortController().signal;

function optionsFor(endpoint: string, more: Partial<DemoOptions> = {}): DemoOptions {
  return {
    ...parseOptions(['--endpoint', endpoint, '--rate', '300', '--duration', '1.5', '--seed', '7'], {})!,
    ...more,
  };
}

function assertWholeTraces(spans: Span[]): void {
  const byId = new Map(spans.map((span) => [span.spanId, span]));
  const roots = spans.filter(({ parentSpanId }) => !parentSpanId);
  assert.equal(roots.length, new Set(spans.map(({ traceId }) => traceId)).size);
  for (const span of spans) {
    assert.ok(BigInt(span.endTimeUnixNano) >= BigInt(span.startTimeUnixNano));
    if (!span.parentSpanId) continue;
    const parent = byId.get(span.parentSpanId)!;
    assert.equal(parent.traceId, span.traceId);
    if (span.kind === 2) assert.deepEqual([parent.kind, parent.service === span.service], [3, false]);
  }
}

for (const json of [false, true]) {
  describe(`The demo shop over ${json ? 'JSON' : 'protobuf'}`, () => {
    const receiver = new Receiver();
    let result: DemoResult;

    before(async () => {
      result = await runDemo(optionsFor(await receiver.listen(), { json }), NEVER);
    });
    after(() => receiver.server.close());

    it('counts exactly what arrived', () => {
      assert.deepEqual(
        [result.spans, result.logs, result.points, result.exportErrors, result.lastError],
        [receiver.spans.length, receiver.logs.length, receiver.points, 0, undefined],
      );
      assert.ok(result.requests > 200, `${result.requests} requests`);
    });

    it('sends spans of eight services and all five kinds, some failed, with events and links', () => {
      assert.equal(new Set(receiver.spans.map(({ service }) => service)).size, 8);
      assert.deepEqual([...new Set(receiver.spans.map(({ kind }) => kind))].sort(), [1, 2, 3, 4, 5]);
      assert.ok(receiver.spans.some(({ status }) => status?.code === 2));
      assert.ok(receiver.spans.some(({ events }) => events?.some(({ name }) => name === 'exception')));
      const ids = new Set(receiver.spans.map(({ spanId }) => spanId));
      const links = receiver.spans.flatMap((span) => span.links ?? []);
      assert.ok(links.length > 0 && links.every(({ spanId }) => ids.has(spanId)));
    });

    it('makes whole traces: one root, every parent there, SERVER below CLIENT of another service', () => {
      assertWholeTraces(receiver.spans);
    });

    it('sends all five kinds of metric, cumulative and delta', () => {
      for (const kind of KINDS)
        assert.ok(
          receiver.metrics.some((metric) => kind in metric),
          kind,
        );
      const sums = receiver.metrics.map(
        (metric) => metric.sum as { aggregationTemporality: unknown } | undefined,
      );
      assert.equal(new Set(sums.filter(Boolean).map((sum) => sum!.aggregationTemporality)).size, 2);
    });

    it('links logs of several severities to its traces', () => {
      const traces = new Set(receiver.spans.map(({ traceId }) => traceId));
      const linked = receiver.logs.filter(({ traceId }) => traceId && traces.has(traceId));
      assert.ok(linked.length > receiver.logs.length / 2);
      assert.ok(new Set(receiver.logs.map(({ severityNumber }) => severityNumber)).size >= 4);
    });

    it('speaks the encoding asked for', () => {
      const expected = json ? ['application/json'] : ['application/json', 'application/x-protobuf'];
      assert.deepEqual([...receiver.contentTypes].sort(), expected); // the card terminal always writes JSON
    });
  });
}

describe('The demo shop before a server that refuses', () => {
  it('counts every failed export and says why', async () => {
    const receiver = new Receiver();
    receiver.status = 400;
    const result = await runDemo(optionsFor(await receiver.listen(), { durationMs: 300 }), NEVER);
    receiver.server.close();
    assert.equal(result.spans + result.logs + result.points, 0);
    assert.ok(result.exportErrors > 0);
    assert.ok(result.lastError);
  });
});

describe('Options of the demo', () => {
  it('come from arguments, then from the environment', () => {
    const options = parseOptions(['--rate', '5', '--duration', '2m'], {
      DEMO_RATE: '9',
      DEMO_JSON: '1',
      DEMO_SEED: '3',
    });
    assert.equal(options?.rate, 5);
    assert.equal(options?.durationMs, 120_000);
    assert.equal(options?.json, true);
    assert.equal(options?.seed, 3);
  });

  it('that make no sense are refused with what is allowed', () => {
    assert.throws(() => parseOptions(['--rate', '0'], {}), /--rate 0: expected a number above 0/);
    assert.throws(
      () => parseOptions(['--duration', 'long'], {}),
      /expected a time such as 30, 30s, 5m or 1h/,
    );
    assert.throws(() => parseOptions(['--endpoint', 'shop'], {}), /expected an http URL/);
  });
});
