import assert from 'node:assert/strict';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import * as grpc from '@grpc/grpc-js';
import { loadSync } from '@grpc/proto-loader';
import { DiagLogLevel, diag, ROOT_CONTEXT, trace } from '@opentelemetry/api';
import { OTLPLogExporter } from '@opentelemetry/exporter-logs-otlp-grpc';
import { OTLPMetricExporter } from '@opentelemetry/exporter-metrics-otlp-grpc';
import { OTLPTraceExporter } from '@opentelemetry/exporter-trace-otlp-grpc';
import { service as healthService } from 'grpc-health-check';
import descriptor from 'protobufjs/ext/descriptor.js';
import { PACKAGE_ROOT } from '../src/version.js';
import { ask, instrument, type Json } from './support/sdk.js';
import { makeDataDir, Server } from './support/server.js';
import { makeTenant } from './support/tenant.js';

const SERVICES = ['trace.v1.TraceService', 'logs.v1.LogsService', 'metrics.v1.MetricsService'].map(
  (name) => `opentelemetry.proto.collector.${name}`,
);

/** What the SDK says of its exports. */
const said: string[] = [];
const note = (...words: unknown[]) => said.push(words.map(String).join(' '));
diag.setLogger(
  { error: note, warn: note, info: note, debug: () => {}, verbose: () => {} },
  DiagLogLevel.INFO,
);

const EXPORTERS = { Traces: OTLPTraceExporter, Logs: OTLPLogExporter, Metrics: OTLPMetricExporter };

describe('gRPC by the official clients', { concurrency: false }, () => {
  let server: Server;
  before(async () => {
    server = await Server.start(makeDataDir());
  });
  after(() => server.program.isRunning && server.kill());

  for (const compression of ['none', 'gzip']) {
    it(`the JavaScript SDK sends all signals, ${compression}, and they come back to the tenant of its key`, async () => {
      const service = `grpc-${compression}`;
      const tenant = await makeTenant(server, service);
      const app = instrument(
        EXPORTERS,
        {
          endpoint: `http://${server.otlpGrpc}`,
          compression: compression,
          headers: `x-api-key=${tenant.ingestKey}`,
        },
        service,
      );
      const span = app.traces.getTracer('shop').startSpan('GET /cart', { attributes: { 'cart.items': 3 } });
      span.end();
      const { traceId } = span.spanContext();
      app.logs.getLogger('shop').emit({
        body: 'stock is low',
        context: trace.setSpan(ROOT_CONTEXT, span),
        attributes: { sku: 'tea' },
      });
      app.metrics.getMeter('shop').createCounter('orders').add(5);
      await app.flush();
      assert.deepEqual(said.splice(0), [], 'the SDK has nothing to complain about');
      const api = `${server.api}/api/v1`;
      const found = await ask(`${api}/traces/${traceId}`, tenant.readKey, (body) => body.span_count === 1);
      assert.equal(found.spans[0].attributes['cart.items'], 3);
      const logs = await ask(
        `${api}/logs?service=${service}`,
        tenant.readKey,
        (body) => body.data.length === 1,
      );
      assert.deepEqual([logs.data[0].body, logs.data[0].trace_id], ['stock is low', traceId]);
      const metric = `${api}/metrics/query?metric=orders&agg=last&service=${service}`;
      const series = await ask(metric, tenant.readKey, (body) => body.series.length === 1);
      assert.equal(series.series[0].points.at(-1)[1], 5);
      await app.shutdown();
    });
  }

  it('the JavaScript SDK shows its user a partial success, and why it is refused with a key nobody knows', async () => {
    const app = instrument(
      EXPORTERS,
      { endpoint: `http://${server.otlpGrpc}`, compression: 'none' },
      'grpc-partial',
    );
    app.traces
      .getTracer('shop')
      .startSpan('too old', { startTime: new Date('2001-01-01') })
      .end();
    await app.flush();
    assert.match(
      said.splice(0).join('\n'),
      /Partial Success.*"rejectedSpans":"?1"?.*1 rejected: times must be/,
    );
    await app.shutdown();
    const stranger = instrument(
      EXPORTERS,
      { endpoint: `http://${server.otlpGrpc}`, compression: 'none', headers: 'x-api-key=nobody' },
      'grpc-stranger',
    );
    const failed = new Promise<Error | undefined>((resolve) =>
      new OTLPTraceExporter().export([], (result) => resolve(result.error)),
    );
    const error = (await failed) as grpc.ServiceError;
    assert.equal(error.code, grpc.status.UNAUTHENTICATED);
    assert.match(error.message, /credential is not known/);
    await stranger.shutdown();
    said.length = 0;
  });

  it('reflection lists and describes every service, v1 and v1alpha', async () => {
    for (const version of ['v1', 'v1alpha']) {
      const answers = await reflect(server.otlpGrpc, version, [
        { listServices: '' },
        ...SERVICES.map((fileContainingSymbol) => ({ fileContainingSymbol })),
        { fileContainingSymbol: 'grpc.health.v1.Health' },
        { fileContainingSymbol: 'no.such.Thing' },
      ]);
      const listed = answers[0].listServicesResponse.service.map((row: Json) => row.name);
      assert.deepEqual(listed.sort(), ['grpc.health.v1.Health', ...SERVICES].sort());
      for (const [index, service] of SERVICES.entries()) {
        const files = answers[index + 1].fileDescriptorResponse.fileDescriptorProto.map((bytes: Buffer) =>
          descriptor.FileDescriptorProto.toObject(descriptor.FileDescriptorProto.decode(bytes)),
        ) as Json[];
        const name = service.split('.').at(-1);
        const methods = files.flatMap((file) => file.service ?? []).find((row) => row.name === name).method;
        assert.deepEqual(
          methods.map((method: Json) => method.name),
          ['Export'],
        );
        const defined = files.flatMap((file) =>
          (file.messageType ?? []).map((message: Json) => `.${file.package}.${message.name}`),
        );
        for (const type of [methods[0].inputType, '.opentelemetry.proto.common.v1.AnyValue'])
          assert.ok(defined.includes(type), `${type} is described`);
      }
      assert.equal(answers[4].fileDescriptorResponse.fileDescriptorProto.length, 1);
      assert.equal(answers[5].errorResponse.errorCode, grpc.status.NOT_FOUND);
    }
  });

  it('health: every service and all together are SERVING; whoever watches is told when that ends', async () => {
    const Health = grpc.makeClientConstructor(healthService as never, 'grpc.health.v1.Health');
    const health = new Health(server.otlpGrpc, grpc.credentials.createInsecure()) as Json;
    const check = (service: string) =>
      new Promise<Json>((resolve) =>
        health.check({ service }, (error: Json, answer: Json) => resolve(error ?? answer)),
      );
    for (const service of ['', ...SERVICES]) assert.equal((await check(service)).status, 'SERVING');
    assert.equal((await check('no.such.Service')).code, grpc.status.NOT_FOUND);
    const seen: string[] = [];
    const watch = health.watch({ service: '' });
    const ended = new Promise<void>((resolve) => {
      watch.on('data', ({ status }: Json) => seen.push(status));
      watch.on('error', () => resolve());
      watch.on('end', () => resolve());
    });
    while (seen.length === 0) await sleep(5);
    await server.stop();
    await ended;
    assert.deepEqual(seen, ['SERVING', 'NOT_SERVING']);
    health.close();
  });
});

/** Asks the reflection service; the answers in the order of the questions. */
function reflect(address: string, version: string, questions: object[]): Promise<Json[]> {
  const folder = join(PACKAGE_ROOT, 'node_modules/@grpc/reflection/build/proto/grpc');
  const definition = loadSync(join(folder, 'reflection', version, 'reflection.proto'), { oneofs: true });
  const Client = (grpc.loadPackageDefinition(definition) as Json).grpc.reflection[version].ServerReflection;
  const client = new Client(address, grpc.credentials.createInsecure());
  const call = client.serverReflectionInfo();
  const answers: Json[] = [];
  return new Promise((resolve, reject) => {
    call.on('data', (answer: Json) => answers.push(answer));
    call.on('error', reject);
    call.on('end', () => {
      client.close();
      resolve(answers);
    });
    for (const question of questions) call.write(question);
    call.end();
  });
}
