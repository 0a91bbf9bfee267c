import assert from 'node:assert/strict';
import { after, describe, it } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { answerOf, EXPORT_PATHS, framed, GrpcConnection, readExported } from './support/grpc-client.js';
import { GrpcLoad } from './support/grpc-load.js';
import { logRecord, requestOf } from './support/items.js';
import { assertExactlyOnce, type SentBody } from './support/load.js';
import { encode } from './support/otlp-client.js';
import { rounds } from './support/rounds.js';
import { Random } from './support/seed.js';
import { makeDataDir, Server } from './support/server.js';
import { until } from './support/until.js';

const ROUNDS = rounds(5);
const MAX_SENDING_MS = 800;

describe('What was acknowledged over gRPC', { concurrency: false }, () => {
  const random = Random.announced('grpc-kill');
  let running: Server | undefined;
  after(() => running?.program.isRunning && running.kill());

  it(`is there exactly once after kill -9, ${ROUNDS} times at random moments`, async () => {
    const dataDir = makeDataDir();
    const bodies: SentBody[] = [];
    for (let round = 0; round < ROUNDS; round++) {
      running = await Server.start(dataDir);
      const load = new GrpcLoad(running.otlpGrpc, random, `r${round}`);
      await until('something is acknowledged', () => load.acknowledged > 0);
      await sleep(random.below(MAX_SENDING_MS));
      await running.kill();
      await load.ended();
      assert.ok(load.acknowledged > 0);
      bodies.push(...load.bodies);
    }
    running = await Server.start(dataDir);
    await running.drained();
    await running.stop();
    await assertExactlyOnce(dataDir, bodies);
    const acknowledged = bodies.filter((body) => body.isAcknowledged).length;
    console.log(`# kill over gRPC: ${acknowledged} acknowledged bodies, ${bodies.length} sent`);
  });

  it('is there after SIGTERM under load, which answers what is under way, exits 0 and is soon over', async () => {
    const dataDir = makeDataDir();
    const server = await Server.start(dataDir);
    running = server;
    const load = new GrpcLoad(server.otlpGrpc, random, 'term', 2, 8);
    const body = encode('logs', 'protobuf', requestOf('logs', [logRecord('slow-0')]));
    const slow = new GrpcConnection(server.otlpGrpc);
    const stream = slow.open(EXPORT_PATHS.logs);
    const answer = answerOf(stream);
    stream.write(framed(body).subarray(0, 30));
    const idle = new GrpcConnection(server.otlpGrpc);
    while (load.acknowledged <= 20) await sleep(10);
    const stopAt = performance.now();
    const stopped = server.stop();
    await sleep(100);
    stream.end(framed(body).subarray(30));
    readExported(await answer, 'logs');
    await Promise.all([stopped, load.ended()]);
    const tookMs = performance.now() - stopAt;
    console.log(`# SIGTERM under gRPC load: ended after ${tookMs.toFixed()} ms`);
    assert.ok(tookMs < 9000, 'neither clients that go on sending nor idle ones hold it up');
    slow.close();
    idle.close();
    running = await Server.start(dataDir);
    await running.drained();
    await running.stop();
    const slowBody = { id: 'slow', signal: 'logs', items: 1, encoding: 'protobuf', isGzip: false } as const;
    await assertExactlyOnce(dataDir, [...load.bodies, { ...slowBody, bytes: body, isAcknowledged: true }]);
  });
});
