import assert from 'node:assert/strict';
import { connect, type Socket } from 'node:net';
import { after, before, describe, it } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { gzipSync } from 'node:zlib';
import { countRowsEach } from './support/engine.js';
import { call, getJson } from './support/http.js';
import { logRecord, requestOf, span } from './support/items.js';
import { assertExactlyOnce, Load } from './support/load.js';
import {
  CONTENT_TYPES,
  ENCODINGS,
  encode,
  portsOf,
  readRefusal,
  readSuccess,
  sendOtlp,
} from './support/otlp-client.js';
import { Random } from './support/seed.js';
import { makeDataDir, Server } from './support/server.js';

const MIB = 1024 * 1024;

/** A request of which only a part is sent, on a bare socket. */
class HalfSent {
  readonly socket: Socket;
  private received = '';
  private readonly closed: Promise<void>;

  constructor(url: string, head: string, firstPart: Uint8Array) {
    const { hostname, port } = new URL(url);
    this.socket = connect(Number(port), hostname);
    this.socket.on('data', (chunk) => (this.received += chunk.toString('latin1')));
    this.socket.on('error', () => undefined);
    this.closed = new Promise((resolve) => this.socket.once('close', () => resolve()));
    this.socket.write(head);
    this.socket.write(firstPart);
  }

  /** Sends the rest and resolves with the head of the answer; '' when the connection ended without one. */
  async finish(rest: Uint8Array): Promise<string> {
    this.socket.write(rest);
    const answered = new Promise<void>((resolve) => this.socket.on('data', () => resolve()));
    await Promise.race([answered, this.closed]);
    this.socket.destroy();
    return this.received;
  }
}

function head(length: number, more = ''): string {
  return `POST /v1/logs HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/x-protobuf\r\nContent-Length: ${length}\r\n${more}\r\n`;
}

describe('OTLP connections', { concurrency: false }, () => {
  const dataDir = makeDataDir();
  let server: Server;
  before(async () => {
    server = await Server.start(dataDir, { MEMORY_LIMIT: '2GiB' });
  });
  after(() => server.program.isRunning && server.kill());

  for (const encoding of ENCODINGS) {
    it(`${encoding}: whoever is not this machine, or shows a key, is told 401 on both ports`, async () => {
      const body = encode('logs', encoding, requestOf('logs', [logRecord('not-mine')]));
      const strangers: Record<string, string>[] = [
        { authorization: 'Bearer tfk_1_0123456789' },
        { authorization: '' },
        { 'x-api-key': 'tfk_1_0123456789' },
        { 'x-forwarded-for': '203.0.113.9' },
        { 'x-forwarded-for': '127.0.0.1' },
        { forwarded: 'for=203.0.113.9' },
        { host: 'telemetry.example.com' },
        { host: 'localhost.example.com:4318' },
      ];
      for (const port of portsOf(server)) {
        for (const headers of strangers) {
          const answer = await sendOtlp(port.url, 'logs', encoding, body, { headers });
          assert.equal(answer.status, 401, `${port.name} ${JSON.stringify(headers)}`);
          const { code, message } = readRefusal(answer, encoding);
          assert.equal(code, 16);
          assert.match(message, /key|credential/);
        }
      }
    });
  }

  it('questions are refused to strangers as data is', async () => {
    const strangers: Record<string, string>[] = [
      { 'x-api-key': 'x' },
      { 'x-forwarded-for': '127.0.0.1' },
      { host: 'evil.example' },
    ];
    for (const headers of strangers) {
      const answer = await call(`${server.api}/api/v1/services`, { method: 'GET', headers });
      assert.equal(answer.status, 401, JSON.stringify(headers));
    }
  });

  it('a tenant header does not choose the tenant', async () => {
    const body = encode('logs', 'json', requestOf('logs', [logRecord('tenant')]));
    const answer = await sendOtlp(server.otlp, 'logs', 'json', body, { headers: { 'x-tenant-id': 'other' } });
    assert.equal(answer.status, 403);
  });

  it('a body over the limit is told so on every try, though it was still being sent', async () => {
    const body = Buffer.alloc(40 * MIB);
    for (const port of portsOf(server)) {
      for (const chunkBytes of [undefined, 64 * 1024]) {
        for (let i = 0; i < 10; i++) {
          const answer = await sendOtlp(port.url, 'logs', 'protobuf', body, { chunkBytes });
          assert.equal(answer.status, 413);
        }
      }
    }
  });

  it('300 half-sent bodies do not hold up others, and are finished when the rest comes', async () => {
    const half = gzipSync(encode('logs', 'protobuf', requestOf('logs', [logRecord('half')])));
    const slow = Array.from({ length: 100 }, (_, i) => [
      new HalfSent(server.otlp, head(half.length, 'Content-Encoding: gzip\r\n'), half.subarray(0, 20)),
      new HalfSent(server.otlp, head(16 * MIB, 'Content-Encoding: gzip\r\n'), half.subarray(0, 20)),
      new HalfSent(server.otlp, 'POST /v1/logs HTTP/1.1\r\nHost: localhost\r\nContent-', new Uint8Array(i)),
    ]);
    await sleep(200);
    const startedAt = performance.now();
    for (let i = 0; i < 20; i++) {
      const body = encode('logs', 'protobuf', requestOf('logs', [logRecord(`quick-${i}`)]));
      readSuccess(await sendOtlp(server.otlp, 'logs', 'protobuf', body), 'logs', 'protobuf', 200);
    }
    const tookMs = performance.now() - startedAt;
    assert.ok(tookMs < 2000, `20 requests took ${tookMs.toFixed()} ms beside half-sent bodies`);
    assert.match(await slow[0][0].finish(half.subarray(20)), /^HTTP\/1\.1 200 /);
    for (const sender of slow.flat()) sender.socket.destroy();
  });

  it('many chunked bodies at once, of which nobody knows the size, are all taken', async () => {
    const bodies = Array.from({ length: 60 }, (_, i) =>
      gzipSync(encode('traces', 'protobuf', requestOf('traces', [span(`chunked-${i}`)]))),
    );
    const answers = await Promise.all(
      bodies.map((body) =>
        sendOtlp(server.otlp, 'traces', 'protobuf', body, {
          chunkBytes: 100,
          headers: { 'content-encoding': 'gzip' },
        }),
      ),
    );
    for (const answer of answers) readSuccess(answer, 'traces', 'protobuf', 200);
  });

  it('a sender that hangs up in the middle leaves nothing behind', async () => {
    const bytes = encode('logs', 'protobuf', requestOf('logs', [logRecord('hung-up')]));
    for (let i = 0; i < 50; i++) {
      const sender = new HalfSent(server.otlp, head(bytes.length), bytes.subarray(0, bytes.length - 1));
      await sleep(2);
      sender.socket.destroy();
    }
    assert.equal((await getJson(`${server.api}/health/ready`)).status, 200);
    await server.drained();
    await server.stop();
    const counts = await countRowsEach(dataDir, [
      ['logs', `attributes['test.marker'] IN ('hung-up', 'not-mine')`],
      ['logs', `attributes['test.marker'] = 'half'`],
      ['logs', `tenant_id IN ('other', '')`],
      ['traces', `attributes['test.marker'] LIKE 'chunked-%'`],
    ]);
    assert.deepEqual(counts, [0, 1, 0, 60]);
  });
});

describe('SIGTERM under load', { concurrency: false }, () => {
  const random = Random.announced('sigterm');
  const dataDir = makeDataDir();
  let server: Server | undefined;
  after(() => server?.program.isRunning && server.kill());

  it('finishes what is under way or says when to come back, exits 0, and has everything it acknowledged', async () => {
    server = await Server.start(dataDir);
    const load = new Load(server.otlp, random, 'term', 8);
    const apiLoad = new Load(server.api, random, 'termapi', 2);
    const body = encode('logs', 'protobuf', requestOf('logs', [logRecord('slow-0')]));
    const slow = Array.from(
      { length: 20 },
      () => new HalfSent(server!.otlp, head(body.length), body.subarray(0, 30)),
    );
    // By then it has read what the slow ones sent: it takes connections and bytes in their order.
    while (load.acknowledged <= 20 || apiLoad.acknowledged <= 5) await sleep(10);
    const stopAt = performance.now();
    const stopped = server.stop().then(() => performance.now() - stopAt);
    await sleep(30);
    for (const sender of slow) {
      const answer = await sender.finish(body.subarray(30));
      assert.match(answer, /^HTTP\/1\.1 (200 |503 [\s\S]*\r\nretry-after: [12]\r\n)/i);
      assert.match(answer, new RegExp(`content-type: ${CONTENT_TYPES.protobuf}\r\n`, 'i'));
    }
    const [stoppedInMs] = await Promise.all([stopped, load.ended(), apiLoad.ended()]);
    console.log(`# SIGTERM under load: ended after ${stoppedInMs.toFixed()} ms`);
    assert.ok(stoppedInMs < 9000, 'clients that go on sending do not hold it up');
    const bodies = [...load.bodies, ...apiLoad.bodies];
    server = await Server.start(dataDir);
    await server.drained();
    await server.stop();
    const slowBody = { id: 'slow', signal: 'logs', items: 1, encoding: 'protobuf', isGzip: false } as const;
    await assertExactlyOnce(dataDir, [...bodies, { ...slowBody, bytes: body, isAcknowledged: false }]);
  });
});
