import assert from 'node:assert/strict';
import { Agent } from 'node:http';
import { connect, type Socket } from 'node:net';
import { after, before, describe, it } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { call } from './support/http.js';
import { logRecord, requestOf } from './support/items.js';
import { encode, portsOf, readSuccess, sendOtlp } from './support/otlp-client.js';
import { makeDataDir, Server } from './support/server.js';

const MIB = 1024 * 1024;
const ATTACK_MS = 16_000;
/** Generous, for machines that are busy with more; the aim is 100 ms, and what was measured is printed. */
const MAX_P99_MS = 1000;
/** Garbage of thousands of cut connections that is not collected yet, and the engine's warming up, are in it. */
const MAX_GROWTH_BYTES = 512 * MIB;
/** 10 s of grace, and the check every second; headers are checked every five. */
const MAX_BODY_CUT_MS = 13_000;
const MAX_HEADERS_CUT_MS = 17_000;

/** A connection of a client that means no good: it sends, and sends again every so often, until it is cut. */
class Attacker {
  readonly socket: Socket;
  readonly cutAfterMs: Promise<number>;
  received = '';

  constructor(url: string, first: string, next: () => string, everyMs: number) {
    const { hostname, port } = new URL(url);
    const startedAt = performance.now();
    this.socket = connect(Number(port), hostname, () => this.socket.write(first, 'latin1'));
    const timer = setInterval(() => {
      if (this.socket.writable) this.socket.write(next(), 'latin1');
    }, everyMs);
    this.socket.on('data', (chunk) => {
      if (this.received.length < 1000) this.received += chunk.toString('latin1');
    });
    this.socket.on('error', () => undefined);
    this.cutAfterMs = new Promise((resolve) =>
      this.socket.once('close', () => {
        clearInterval(timer);
        resolve(performance.now() - startedAt);
      }),
    );
  }
}

const postHead = (length: number) =>
  `POST /v1/logs HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/x-protobuf\r\nContent-Length: ${length}\r\n\r\n`;
const many = (count: number, make: () => Attacker) => Array.from({ length: count }, make);

const KINDS = {
  'half of the headers': (url: string) =>
    new Attacker(url, 'POST /v1/logs HTTP/1.1\r\nHost: local', () => '', 1000),
  'headers that trickle': (url: string) =>
    new Attacker(url, 'GET /health/live HTTP/1.1\r\nHost: localhost\r\n', () => 'X-A: 1\r\n', 500),
  'nothing at all': (url: string) => new Attacker(url, '', () => '', 1000),
  'half of the body': (url: string) => new Attacker(url, `${postHead(1000)}abc`, () => '', 1000),
  'a body that trickles': (url: string) => new Attacker(url, postHead(MIB), () => 'x'.repeat(100), 500),
  'chunks that trickle': (url: string) =>
    new Attacker(
      url,
      'POST /v1/logs HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n',
      () => '1\r\nx\r\n',
      500,
    ),
};

/** Short attacks, again and again until the time is over. Each connection gets its answer, or is closed. */
const FLOODS = {
  '10,000 headers': `GET / HTTP/1.1\r\nHost: localhost\r\n${'a: b\r\n'.repeat(10_000)}\r\n`,
  'a header of 1 MB': `GET / HTTP/1.1\r\nHost: localhost\r\nX-A: ${'x'.repeat(1_000_000)}\r\n\r\n`,
  'pipelined garbage': `${'GET /nothing HTTP/1.1\r\nHost: localhost\r\n\r\n'.repeat(50)}${'\x00garbage\xff'.repeat(1000)}`,
};

async function flood(url: string, bytes: string, untilMs: number): Promise<number> {
  let rounds = 0;
  for (; performance.now() < untilMs; rounds++) {
    const attacker = new Attacker(url, bytes, () => '', 5000);
    await attacker.cutAfterMs;
    await sleep(20);
  }
  return rounds;
}

const percentile = (sorted: number[], share: number) => sorted[Math.floor((sorted.length - 1) * share)];

describe('Slow and hostile clients', { concurrency: false }, () => {
  let server: Server;
  before(async () => {
    server = await Server.start(makeDataDir(), { MEMORY_LIMIT: '2GiB' });
  });
  after(() => server.stop());

  /** What a good client measures until the time is over: sends data, asks, looks whether the server lives. */
  async function goodClient(untilMs: number): Promise<number[]> {
    const agent = new Agent({ keepAlive: true, maxSockets: 4 });
    const took: number[] = [];
    for (let i = 0; performance.now() < untilMs; i++) {
      const body = encode('logs', 'protobuf', requestOf('logs', [logRecord(`good-${i}`)]));
      const steps = [
        async () =>
          readSuccess(await sendOtlp(server.otlp, 'logs', 'protobuf', body), 'logs', 'protobuf', 200),
        async () =>
          assert.equal((await call(`${server.api}/health/live`, { method: 'GET', agent })).status, 200),
        async () =>
          assert.equal((await call(`${server.api}/docs-json`, { method: 'GET', agent })).status, 200),
      ];
      for (const step of steps) {
        const startedAt = performance.now();
        await step();
        took.push(performance.now() - startedAt);
      }
      await sleep(10);
    }
    agent.destroy();
    return took.sort((a, b) => a - b);
  }

  it('do not keep a good client from its answers, are cut, and cost no memory', async () => {
    await goodClient(performance.now() + 2000);
    const before = server.residentBytes;
    const untilMs = performance.now() + ATTACK_MS;
    const slow = Object.entries(KINDS).map(([kind, attack]) => {
      const attackers = portsOf(server).flatMap(({ url }) => many(17, () => attack(url)));
      return { kind, attackers };
    });
    const floods = Object.values(FLOODS).flatMap((bytes) =>
      portsOf(server).map(({ url }) => flood(url, bytes, untilMs)),
    );
    const took = await goodClient(untilMs);
    const grown = server.residentBytes - before;
    const connections = slow.reduce((sum, { attackers }) => sum + attackers.length, 0);
    const p99 = percentile(took, 0.99);
    const rounds = (await Promise.all(floods)).reduce((sum, count) => sum + count, 0);
    console.log(
      `# beside ${connections} slow connections and ${rounds} floods: ${took.length} good requests, p50 ${percentile(took, 0.5).toFixed(1)} ms, p99 ${p99.toFixed(1)} ms, slowest ${took.at(-1)!.toFixed(1)} ms; memory +${(grown / MIB).toFixed(0)} MiB`,
    );
    assert.ok(connections >= 200 && rounds > 50);
    assert.ok(p99 < MAX_P99_MS, `p99 ${p99.toFixed(1)} ms`);
    assert.ok(grown < MAX_GROWTH_BYTES, `memory grew by ${grown} bytes`);
    for (const { kind, attackers } of slow) {
      const cut = await Promise.all(attackers.map(({ cutAfterMs }) => cutAfterMs));
      const last = Math.max(...cut);
      console.log(`# ${kind}: cut after ${(last / 1000).toFixed(1)} s at most`);
      assert.ok(
        last < (/body|chunks/.test(kind) ? MAX_BODY_CUT_MS : MAX_HEADERS_CUT_MS),
        `${kind}: ${last} ms`,
      );
      if (/nothing/.test(kind)) continue;
      for (const { received } of attackers)
        assert.match(received, /^HTTP\/1\.1 503 [\s\S]*Retry-After: 1\r\n[\s\S]*"code":14/, kind);
    }
  });

  it('a body that is slow but comes is taken', async () => {
    const bytes = encode(
      'logs',
      'protobuf',
      requestOf(
        'logs',
        Array.from({ length: 400 }, (_, i) => logRecord(`slow-${i}`)),
      ),
    );
    const text = Buffer.from(bytes).toString('latin1');
    let at = 0;
    // 12 s, beyond the grace, at more than the least rate.
    const step = Math.ceil(text.length / 24);
    assert.ok(step > 600, 'the test itself is not too slow');
    const next = () => {
      at += step;
      return text.slice(at - step, at);
    };
    const sender = new Attacker(server.otlp, postHead(text.length), next, 500);
    while (!sender.received.includes('\r\n\r\n') && sender.socket.writable) await sleep(50);
    assert.match(sender.received, /^HTTP\/1\.1 200 /);
    sender.socket.destroy();
  });
});

describe('More connections than there may be', { concurrency: false }, () => {
  it('are closed, and the server answers again when there are fewer', async () => {
    // One of them is the connection of the sign-in.
    const server = await Server.start(makeDataDir(), { MAX_CONNECTIONS: '21' });
    const open = many(40, () => new Attacker(server.otlp, 'GET', () => '', 60_000));
    await sleep(500);
    const isClosed = ({ socket }: Attacker) => socket.destroyed || socket.readableEnded;
    assert.equal(open.filter(isClosed).length, 20);
    for (const { socket } of open) socket.destroy();
    await sleep(200);
    assert.equal((await call(`${server.api}/health/live`, { method: 'GET' })).status, 200);
    await server.stop();
  });
});
