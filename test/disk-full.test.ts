import assert from 'node:assert/strict';
import { after, describe, it } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { countRowsEach } from './support/engine.js';
import { call, getJson } from './support/http.js';
import { logRecord, requestOf } from './support/items.js';
import { assertExactlyOnce, Load, type SentBody } from './support/load.js';
import { encode, readRefusal, readSuccess, sendOtlp } from './support/otlp-client.js';
import { Random } from './support/seed.js';
import { makeDataDir, Server, StartFailed } from './support/server.js';
import { SmallDisk } from './support/small-disk.js';

const MAX_WAIT_MS = 30_000;

/** Resolves when `isTrue` holds; fails after half a minute. */
async function until(what: string, isTrue: () => boolean | Promise<boolean>): Promise<void> {
  const startedAt = performance.now();
  while (!(await isTrue())) {
    assert.ok(performance.now() - startedAt < MAX_WAIT_MS, `not within ${MAX_WAIT_MS / 1000} s: ${what}`);
    await sleep(10);
  }
}

async function send(server: Server, marker: string) {
  return sendOtlp(
    server.otlp,
    'logs',
    'protobuf',
    encode('logs', 'protobuf', requestOf('logs', [logRecord(marker)])),
  );
}

describe('a full disk', { concurrency: false }, () => {
  const random = Random.announced('disk-full');
  const dataDir = makeDataDir();
  const disk = SmallDisk.mount(dataDir, 200);
  const bodies: SentBody[] = [];
  let running: Server | undefined;
  after(() => running?.kill());

  const start = async () => {
    running = await Server.start(dataDir);
    return running;
  };
  const finish = async (load: Load) => {
    await load.stop();
    bodies.push(...load.bodies);
  };

  if (!disk) it('needs root on Linux, to mount a small file system', { skip: true });

  if (disk) {
    it('is answered 503 with Retry-After, everything else goes on, and it takes data again when there is room', async () => {
      const server = await start();
      const load = new Load(server.otlp, random, 'full');
      await until('data is taken', () => load.acknowledged > 20);
      disk.fill();
      await until('data is refused', () => (load.answers.get(503) ?? 0) > 20);
      // The engine gives room back when it drops merged parts; a request this small would fit into it.
      let answer = await send(server, 'refused-0');
      await until('a single request is refused', async () => {
        disk.fill();
        answer = await send(server, 'refused-0');
        return answer.status === 503;
      });
      assert.match(readRefusal(answer, 'protobuf').message, /disk/i);
      assert.equal((await call(`${server.api}/health/live`, { method: 'GET' })).status, 200);
      assert.equal((await server.queue()).diskFull, true);
      await until(
        'questions are answered',
        async () => (await getJson(`${server.api}/api/v1/services`, server.key)).status === 200,
      );
      const logged = server.program.stderr.length;
      await sleep(1500);
      const perSecond = (server.program.stderr.length - logged) / 1.5;
      assert.ok(perSecond < 100_000, `the log grows by ${perSecond.toFixed()} bytes a second`);
      const refused = load.acknowledged;
      disk.free();
      await until('data is taken again', () => load.acknowledged > refused + 20);
      await finish(load);
      await server.drained();
      assert.equal((await server.queue()).diskFull, false);
      assert.equal((await getJson(`${server.api}/health/ready`)).status, 200);
      await server.stop();
      await assertExactlyOnce(dataDir, bodies);
    });

    it('does not keep it from stopping: SIGTERM exits 0, and nothing acknowledged is lost', async () => {
      const server = await start();
      const load = new Load(server.otlp, random, 'stopped');
      await until('data is taken', () => load.acknowledged > 20);
      disk.fill();
      await until('data is refused', () => (load.answers.get(503) ?? 0) > 20);
      await server.stop();
      await load.ended();
      bodies.push(...load.bodies);
      disk.free();
      const again = await start();
      await again.drained();
      await again.stop();
      await assertExactlyOnce(dataDir, bodies);
    });

    it('and a kill -9 at that moment: nothing acknowledged is lost or doubled', async () => {
      const server = await start();
      const load = new Load(server.otlp, random, 'killed');
      await until('data is taken', () => load.acknowledged > 20);
      disk.fill();
      await until('data is refused', () => (load.answers.get(503) ?? 0) > 20);
      await server.kill();
      await load.ended();
      bodies.push(...load.bodies);
      // On a disk without any room it may start or say why it cannot; it must not do harm.
      try {
        await (await start()).kill();
      } catch (error) {
        assert.ok(error instanceof StartFailed, String(error));
        assert.equal(error.exit.code, 1, error.output);
        assert.match(error.output, /space|ENOSPC|full/i);
      }
      disk.free();
      const again = await start();
      await again.drained();
      await again.stop();
      await assertExactlyOnce(dataDir, bodies);
    });
  }
});

describe('a full backlog', { concurrency: false }, () => {
  const dataDir = makeDataDir();
  let running: Server | undefined;
  after(() => running?.kill());

  it('is answered 503 with Retry-After, and nothing acknowledged is lost', async () => {
    // Nobody takes anything out of the queue.
    running = await Server.startIdle(dataDir, { INGEST_BACKLOG_BYTES: '1MiB' });
    let accepted = 0;
    for (;;) {
      const answer = await send(running, `backlog-${accepted}`);
      if (answer.status !== 200) {
        assert.equal(answer.status, 503);
        assert.match(readRefusal(answer, 'protobuf').message, /bytes wait for the store/);
        break;
      }
      accepted++;
      assert.ok(accepted < 10_000, 'there is a limit');
    }
    assert.ok(accepted > 10);
    assert.equal((await call(`${running.api}/health/live`, { method: 'GET' })).status, 200);
    assert.equal((await getJson(`${running.api}/api/v1/services`, running.key)).status, 200);
    await running.stop();
    running = await Server.start(dataDir, { INGEST_BACKLOG_BYTES: '1MiB' });
    await running.drained();
    readSuccess(await send(running, 'backlog-room-again'), 'logs', 'protobuf', 200);
    await running.drained();
    await running.stop();
    const counts = await countRowsEach(dataDir, [
      ['logs', '1'],
      ['logs', `attributes['test.marker'] = 'backlog-${accepted}'`],
    ]);
    assert.deepEqual(counts, [accepted + 1, 0]);
  });
});
