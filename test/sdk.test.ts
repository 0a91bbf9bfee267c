import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { DiagLogLevel, diag, ROOT_CONTEXT, SpanStatusCode, trace } from '@opentelemetry/api';
import { SeverityNumber } from '@opentelemetry/api-logs';
import { OTLPLogExporter as JsonLogs } from '@opentelemetry/exporter-logs-otlp-http';
import { OTLPLogExporter as ProtoLogs } from '@opentelemetry/exporter-logs-otlp-proto';
import { OTLPMetricExporter as JsonMetrics } from '@opentelemetry/exporter-metrics-otlp-http';
import { OTLPMetricExporter as ProtoMetrics } from '@opentelemetry/exporter-metrics-otlp-proto';
import { OTLPTraceExporter as JsonTraces } from '@opentelemetry/exporter-trace-otlp-http';
import { OTLPTraceExporter as ProtoTraces } from '@opentelemetry/exporter-trace-otlp-proto';
import { getJson } from './support/http.js';
import { logRecord, requestOf } from './support/items.js';
import { encode, sendOtlp } from './support/otlp-client.js';
import { RecordingProxy } from './support/recording-proxy.js';
import { ask, instrument, type Json } from './support/sdk.js';
import { makeDataDir, Server } from './support/server.js';
import { makeTenant } from './support/tenant.js';

const EXPORTERS = {
  protobuf: { Traces: ProtoTraces, Logs: ProtoLogs, Metrics: ProtoMetrics },
  json: { Traces: JsonTraces, Logs: JsonLogs, Metrics: JsonMetrics },
};

/** What the SDK says of its exports. */
const said: string[] = [];
const note = (...words: unknown[]) => said.push(words.map(String).join(' '));
diag.setLogger(
  { error: note, warn: note, info: note, debug: () => {}, verbose: () => {} },
  DiagLogLevel.INFO,
);

describe('the official JavaScript SDK', { concurrency: false }, () => {
  let server: Server;
  let proxy: RecordingProxy;
  before(async () => {
    server = await Server.start(makeDataDir(), { INGEST_BACKLOG_BYTES: '256KiB' });
    proxy = await RecordingProxy.before(server.otlp);
  });
  after(async () => {
    proxy.close();
    await server.stop();
  });

  for (const protocol of ['protobuf', 'json'] as const) {
    for (const compression of ['none', 'gzip']) {
      it(`sends all signals as ${protocol}, ${compression}, with only the endpoint set, and they come back`, async () => {
        const service = `sdk-${protocol}-${compression}`;
        const app = instrument(
          EXPORTERS[protocol],
          { endpoint: proxy.url, compression: compression },
          service,
        );
        const span = app.traces
          .getTracer('shop', '1.2.3')
          .startSpan('GET /cart', { attributes: { 'cart.items': 3 } });
        span.addEvent('cache miss', { key: 'cart:7' });
        span.setStatus({ code: SpanStatusCode.ERROR, message: 'out of stock' });
        span.end();
        const { traceId, spanId } = span.spanContext();
        const record = { severityNumber: SeverityNumber.WARN, severityText: 'WARN', body: 'stock is low' };
        app.logs
          .getLogger('shop')
          .emit({ ...record, attributes: { sku: 'tea' }, context: trace.setSpan(ROOT_CONTEXT, span) });
        const meter = app.metrics.getMeter('shop');
        meter.createCounter('orders', { unit: '{order}' }).add(5, { kind: 'test' });
        meter.createHistogram('latency', { unit: 'ms' }).record(12.5);
        const sentAt = performance.now();
        await app.flush();

        const api = `${server.api}/api/v1`;
        const found = await ask(`${api}/traces/${traceId}`, server.key, (body) => body.span_count === 1);
        assert.equal(found.spans[0].span_id, spanId);
        assert.equal(found.spans[0].service_name, service);
        assert.equal(found.spans[0].status_message, 'out of stock');
        assert.equal(found.spans[0].attributes['cart.items'], 3);
        assert.equal(found.spans[0].events[0].name, 'cache miss');
        const logs = await ask(
          `${api}/logs?service=${service}`,
          server.key,
          (body) => body.data.length === 1,
        );
        assert.equal(logs.data[0].body, 'stock is low');
        assert.equal(logs.data[0].trace_id, traceId);
        assert.equal(logs.data[0].attributes.sku, 'tea');
        const metric = `${api}/metrics/query?metric=orders&agg=last&service=${service}`;
        const series = await ask(metric, server.key, (body) => body.series.length === 1);
        assert.equal(series.series[0].points.at(-1)[1], 5);
        const services = await ask(`${api}/services`, server.key, (body) =>
          body.data.some((row: Json) => row.service_name === service && row.metric_count === 2),
        );
        const row = services.data.find((candidate: Json) => candidate.service_name === service);
        assert.deepEqual([row.span_count, row.log_count, row.error_count], [1, 1, 1]);
        console.log(
          `# ${service}: visible ${(performance.now() - sentAt).toFixed()} ms after the export began`,
        );

        const exchanges = proxy.exchanges.splice(0);
        assert.deepEqual(exchanges.map(({ path }) => path).sort(), ['/v1/logs', '/v1/metrics', '/v1/traces']);
        for (const { status, contentType, contentEncoding } of exchanges) {
          assert.equal(status, 200);
          assert.equal(contentType, protocol === 'json' ? 'application/json' : 'application/x-protobuf');
          assert.equal(contentEncoding, compression === 'gzip' ? 'gzip' : undefined);
        }
        assert.deepEqual(said.splice(0), [], 'the SDK has nothing to complain about');
        await app.shutdown();
        proxy.exchanges.length = 0;
      });
    }

    it(`sends as ${protocol} with a key in its headers, and what it sent is the key's tenant's alone`, async () => {
      const service = `sdk-key-${protocol}`;
      const tenant = await makeTenant(server, service);
      const header = protocol === 'json' ? 'x-api-key=' : 'authorization=Bearer%20';
      const app = instrument(
        EXPORTERS[protocol],
        { endpoint: proxy.url, compression: 'gzip', headers: `${header}${tenant.ingestKey}` },
        service,
      );
      app.traces.getTracer('shop').startSpan('GET /cart').end();
      app.logs.getLogger('shop').emit({ body: 'stock is low' });
      app.metrics.getMeter('shop').createCounter('orders').add(5);
      await app.flush();
      assert.deepEqual(said.splice(0), [], 'the SDK has nothing to complain about');
      const isMine = (body: Json) => body.data[0]?.service_name === service;
      const url = `${server.api}/api/v1/services`;
      const { data } = await ask(
        url,
        tenant.readKey,
        (body) =>
          isMine(body) &&
          body.data[0].log_count === 1 &&
          body.data[0].span_count === 1 &&
          body.data[0].metric_count === 1,
      );
      assert.equal(data.length, 1);
      const { body } = await getJson(url, server.key);
      assert.ok(!(body as Json).data.some((row: Json) => row.service_name === service));
      await app.shutdown();
      proxy.exchanges.length = 0;
    });

    it(`shows its user a partial success, ${protocol}`, async () => {
      const app = instrument(
        EXPORTERS[protocol],
        { endpoint: proxy.url, compression: 'none' },
        `partial-${protocol}`,
      );
      const tracer = app.traces.getTracer('shop');
      tracer.startSpan('too old', { startTime: new Date('2001-01-01') }).end();
      tracer.startSpan('good').end();
      await app.flush();
      assert.equal(said.length, 1, said.join('\n'));
      assert.match(said[0], /Partial Success.*"rejectedSpans":"?1"?.*1 rejected: times must be within/);
      said.length = 0;
      const traces = proxy.exchanges.filter(({ path }) => path === '/v1/traces');
      assert.deepEqual(
        traces.map(({ status }) => status),
        [200],
        'and it is not sent again',
      );
      await app.shutdown();
      proxy.exchanges.length = 0;
    });

    it(`waits as Retry-After says when the server has no room, and loses nothing, ${protocol}`, async () => {
      const service = `retried-${protocol}`;
      const app = instrument(EXPORTERS[protocol], { endpoint: proxy.url, compression: 'gzip' }, service);
      const statuses = () => proxy.exchanges.map(({ status }) => status);
      // Keeps the backlog full until the SDK has been refused once.
      const crowd = Array.from({ length: 8 }, async (_, client) => {
        for (let i = 0; !statuses().includes(503); i++) {
          const body = encode(
            'logs',
            'protobuf',
            requestOf('logs', [logRecord(`crowd-${protocol}-${client}-${i}`)], 'crowd'),
          );
          await sendOtlp(server.otlp, 'logs', 'protobuf', body);
        }
      });
      let sent = 0;
      while (!statuses().includes(503)) {
        app.traces.getTracer('shop').startSpan(`patient ${sent++}`).end();
        await Promise.race([app.flushTraces(), Promise.all(crowd)]);
      }
      await Promise.all(crowd);
      await app.flush();
      await ask(
        `${server.api}/api/v1/traces?service=${service}&limit=1000`,
        server.key,
        (body) => body.data.length === sent,
      );
      await app.shutdown();
      proxy.exchanges.length = 0;
      said.length = 0;
    });
  }
});
