import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { deflateSync, gzipSync } from 'node:zlib';
import { SIGNALS } from '../src/signal.js';
import { queryEachSignal, TABLES } from './support/engine.js';
import {
  answerOf,
  EXPORT_PATHS,
  framed,
  GrpcConnection,
  readExported,
  readGrpcError,
} from './support/grpc-client.js';
import { getJson } from './support/http.js';
import { ITEMS, logRecord, requestOf, span } from './support/items.js';
import { encode } from './support/otlp-client.js';
import { makeDataDir, Server } from './support/server.js';

const MIB = 1024 * 1024;
const GZIP = { 'grpc-encoding': 'gzip' };
const log = (marker: string) => encode('logs', 'protobuf', requestOf('logs', [logRecord(marker)]));

describe('OTLP over gRPC', { concurrency: false }, () => {
  const dataDir = makeDataDir();
  let server: Server;
  let client: GrpcConnection;
  before(async () => {
    server = await Server.start(dataDir, { MAX_BODY_BYTES: '1MiB', MAX_INFLATED_BYTES: '4MiB' });
    client = new GrpcConnection(server.otlpGrpc);
  });
  after(async () => {
    client.close();
    if (server.program.isRunning) await server.kill();
  });

  const refused = async (...call: Parameters<GrpcConnection['call']>) =>
    readGrpcError(await client.call(...call));

  for (const signal of SIGNALS) {
    it(`${signal}: taken plain, gzip, deflate, and plain where compression was only announced`, async () => {
      const body = (name: string) =>
        encode(signal, 'protobuf', requestOf(signal, [ITEMS[signal](`good-${name}`)]));
      const calls: [Buffer, Record<string, string>][] = [
        [framed(body('plain')), {}],
        [framed(gzipSync(body('gzip')), true), GZIP],
        [framed(deflateSync(body('deflate')), true), { 'grpc-encoding': 'deflate' }],
        [framed(body('announced')), GZIP],
        [framed(body('identity')), { 'grpc-encoding': 'identity' }],
      ];
      for (const [bytes, headers] of calls) {
        const answer = await client.call(EXPORT_PATHS[signal], bytes, headers);
        assert.deepEqual(readExported(answer, signal), { rejected: 0, message: '' });
        assert.equal(answer.trailers?.['grpc-status'], '0');
      }
    });
  }

  it('an empty request, and one cut into single bytes, are taken', async () => {
    readExported(await client.call(EXPORT_PATHS.logs, framed(new Uint8Array())), 'logs');
    const stream = client.open(EXPORT_PATHS.logs);
    const answer = answerOf(stream);
    for (const byte of framed(log('good-bytewise'))) stream.write(Buffer.from([byte]));
    stream.end();
    assert.equal(readExported(await answer, 'logs').rejected, 0);
  });

  it('a partial success counts and says why', async () => {
    const spans = [span('good-partial'), span('refused-old', { startTimeUnixNano: '1000' })];
    const body = encode('traces', 'protobuf', requestOf('traces', spans));
    const { rejected, message } = readExported(
      await client.call(EXPORT_PATHS.traces, framed(body)),
      'traces',
    );
    assert.equal(rejected, 1);
    assert.match(message, /^1 rejected: times must be within/);
  });

  it('what cannot be read is INVALID_ARGUMENT', async () => {
    const wrong: [string, Buffer, Record<string, string>][] = [
      ['not protobuf', framed(Buffer.from('{"resourceLogs":[]}')), {}],
      ['not gzip', framed(log('refused-1'), true), GZIP],
      ['gzip cut off', framed(gzipSync(log('refused-2')).subarray(0, 30), true), GZIP],
      ['compressed without saying how', framed(gzipSync(log('refused-3')), true), {}],
      ['no message', Buffer.alloc(0), {}],
      ['half a prefix', Buffer.from([0, 0, 0]), {}],
      ['half a message', framed(log('refused-4')).subarray(0, 20), {}],
      ['two messages', Buffer.concat([framed(log('refused-5')), framed(log('refused-6'))]), {}],
      ['a flag that is none', Buffer.concat([Buffer.from([2]), framed(log('refused-7')).subarray(1)]), {}],
    ];
    for (const [what, bytes, headers] of wrong) {
      const { code, message, retrySeconds } = await refused(EXPORT_PATHS.logs, bytes, headers);
      assert.equal(code, 3, `${what}: ${message}`);
      assert.ok(message.length > 10, what);
      assert.equal(retrySeconds, undefined, what);
    }
  });

  it('too large, as sent or after decompression, is RESOURCE_EXHAUSTED and not to be sent again', async () => {
    const bomb = gzipSync(Buffer.alloc(100 * MIB));
    const announced = Buffer.from([0, 0xff, 0xff, 0xff, 0xff]);
    const large: [Buffer, Record<string, string>][] = [
      [framed(Buffer.alloc(MIB + 1)), {}],
      [framed(Buffer.alloc(20 * MIB)), {}],
      [announced, {}],
      [framed(bomb, true), GZIP],
      [framed(gzipSync(Buffer.alloc(4 * MIB + 1)), true), GZIP],
    ];
    for (const [bytes, headers] of large) {
      const { code, message, retrySeconds } = await refused(EXPORT_PATHS.logs, bytes, headers);
      assert.equal(code, 8);
      assert.match(message, /larger than the allowed \d+ bytes/);
      assert.equal(retrySeconds, undefined);
    }
  });

  it('what is not there is UNIMPLEMENTED: other methods, other services, other compressions', async () => {
    for (const path of ['/', '/v1/logs', `${EXPORT_PATHS.logs}/`, '/grpc.health.v1.Health/Other']) {
      assert.equal((await refused(path, framed(log('refused-8')))).code, 12, path);
    }
    const answer = await client.call(EXPORT_PATHS.logs, framed(log('refused-9'), true), {
      'grpc-encoding': 'snappy',
    });
    assert.equal(readGrpcError(answer).code, 12);
    assert.equal(answer.headers['grpc-accept-encoding'], 'identity,gzip,deflate');
    const other = await client.call(EXPORT_PATHS.logs, log('refused-10'), {
      'content-type': 'application/x-protobuf',
    });
    assert.equal(other.headers[':status'], 415);
  });

  it('strangers are UNAUTHENTICATED, whatever they show; a tenant header chooses nothing', async () => {
    const strangers: Record<string, string>[] = [
      { authorization: 'Bearer tfk_1_0123456789' },
      { authorization: '' },
      { 'x-api-key': 'tfk_1_0123456789' },
      { 'x-forwarded-for': '203.0.113.9' },
      { forwarded: 'for=203.0.113.9' },
      { ':authority': 'telemetry.example.com' },
    ];
    for (const headers of strangers) {
      const { code, message } = await refused(EXPORT_PATHS.logs, framed(log('refused-11')), headers);
      assert.equal(code, 16, JSON.stringify(headers));
      assert.match(message, /key|credential/);
    }
    const other = await refused(EXPORT_PATHS.logs, framed(log('refused-12')), { 'x-tenant-id': 'other' });
    assert.equal(other.code, 7);
  });

  it('who may not send is told before the message is read', async () => {
    const stream = client.open(EXPORT_PATHS.logs, { 'x-api-key': 'nobody' });
    const answer = answerOf(stream);
    stream.write(framed(Buffer.alloc(1000)).subarray(0, 100));
    assert.equal(readGrpcError(await answer).code, 16);
  });

  it('a call whose deadline passes is DEADLINE_EXCEEDED at once, and nothing of it is kept', async () => {
    const stream = client.open(EXPORT_PATHS.logs, { 'grpc-timeout': '100m' });
    const startedAt = performance.now();
    const answer = answerOf(stream);
    stream.write(framed(log('refused-late')).subarray(0, 30));
    assert.equal(readGrpcError(await answer).code, 4);
    const tookMs = performance.now() - startedAt;
    assert.ok(tookMs > 90 && tookMs < 2000, `${tookMs} ms`);
    const answered = await client.call(EXPORT_PATHS.logs, framed(log('good-in-time')), {
      'grpc-timeout': '10S',
    });
    readExported(answered, 'logs');
  });

  it('1,000 calls at once on one connection are all taken', async () => {
    const answers = await Promise.all(
      Array.from({ length: 1000 }, (_, i) => client.call(EXPORT_PATHS.logs, framed(log(`good-many-${i}`)))),
    );
    for (const answer of answers) readExported(answer, 'logs');
  });

  it('300 half-sent messages do not hold up others, and are taken when the rest comes', async () => {
    const half = framed(log('good-half'));
    const connections = [0, 1, 2].map(() => new GrpcConnection(server.otlpGrpc));
    const slow = Array.from({ length: 300 }, (_, i) => {
      const stream = connections[i % 3].open(EXPORT_PATHS.logs);
      stream.write(half.subarray(0, 5 + (i % 20)));
      return { stream, answer: answerOf(stream) };
    });
    await sleep(200);
    const startedAt = performance.now();
    for (let i = 0; i < 20; i++)
      readExported(await client.call(EXPORT_PATHS.logs, framed(log(`good-quick-${i}`))), 'logs');
    const tookMs = performance.now() - startedAt;
    assert.ok(tookMs < 2000, `20 calls took ${tookMs.toFixed()} ms beside half-sent messages`);
    slow[0].stream.end(half.subarray(5));
    readExported(await slow[0].answer, 'logs');
    for (const connection of connections) connection.close();
  });

  it('a client that cancels in the middle leaves nothing behind', async () => {
    for (let i = 0; i < 50; i++) {
      const stream = client.open(EXPORT_PATHS.logs);
      stream.write(framed(log('refused-cancelled')).subarray(0, 60));
      if (i % 2 === 0) await sleep(2);
      stream.close(8);
      const whole = client.open(EXPORT_PATHS.logs);
      whole.end(framed(log(`cancelled-${i}`)), () => whole.close(8));
    }
    readExported(await client.call(EXPORT_PATHS.logs, framed(log('good-after'))), 'logs');
  });

  it('is unharmed afterwards, and stored what was taken, once, and nothing of what was refused', async () => {
    assert.equal((await getJson(`${server.api}/health/ready`)).status, 200);
    assert.doesNotMatch(server.program.stderr, /"level":(50|60)/, 'bad input is no error of ours');
    await server.drained();
    client.close();
    await server.stop();
    const marker = `attributes['test.marker']`;
    const answers = await queryEachSignal<{ refused: number; good: number; doubled: number }>(
      dataDir,
      (signal) =>
        `SELECT countIf(${marker} LIKE 'refused%') AS refused, countIf(${marker} LIKE 'good%') AS good,
           count() - uniqExact(${marker}) AS doubled FROM ${TABLES[signal]}`,
    );
    for (const [signal, [{ refused, good, doubled }]] of answers) {
      const more = { logs: 1 + 1 + 1000 + 1 + 20 + 1, traces: 1, metrics: 0 }[signal];
      assert.deepEqual({ refused, good, doubled }, { refused: 0, good: 5 + more, doubled: 0 }, signal);
    }
  });
});

describe('OTLP over gRPC when there is too much of it', { concurrency: false }, () => {
  let server: Server;
  after(() => server?.program.isRunning && server.kill());

  it('a full backlog is UNAVAILABLE with RetryInfo; memory stays bounded; what was refused can be sent again', async () => {
    const dataDir = makeDataDir();
    server = await Server.startIdle(dataDir, { INGEST_BACKLOG_BYTES: '4MiB' });
    const connections = Array.from({ length: 4 }, () => new GrpcConnection(server.otlpGrpc));
    const residentBefore = server.residentBytes;
    const ballast = 'x'.repeat(100_000);
    let refusals = 0;
    await Promise.all(
      Array.from({ length: 400 }, async (_, i) => {
        const record = logRecord(`many-${i}`, { body: { stringValue: ballast } });
        const body = encode('logs', 'protobuf', requestOf('logs', [record]));
        const answer = await connections[i % 4].call(EXPORT_PATHS.logs, framed(body));
        if (answer.status === 0) return;
        const { code, retrySeconds } = readGrpcError(answer);
        assert.deepEqual([code, retrySeconds], [14, 1]);
        refusals++;
      }),
    );
    assert.ok(refusals > 300, `${refusals} of 400 refused`);
    const grownMiB = (server.residentBytes - residentBefore) / MIB;
    assert.ok(grownMiB < 300, `resident memory grew by ${grownMiB.toFixed()} MiB`);
    for (const connection of connections) connection.close();
    await server.stop();
  });
});
