import assert from 'node:assert/strict';
import { after, it } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { countRows } from './support/engine.js';
import { logRecord, requestOf } from './support/items.js';
import { encode, sendOtlp } from './support/otlp-client.js';
import { makeDataDir, Server, StartFailed } from './support/server.js';

const MAX_WAIT_MS = 30_000;

let running: Server | undefined;
after(() => running?.kill());

it('a body that kills the process does it once: then it is set aside, and what came with it is stored', async () => {
  const dataDir = makeDataDir();
  const server = await Server.startIdle(dataDir);
  running = server;
  for (const marker of ['good-1', 'poison-body', 'good-2']) {
    const body = encode('logs', 'protobuf', requestOf('logs', [logRecord(marker)]));
    assert.equal((await sendOtlp(server.otlp, 'logs', 'protobuf', body)).status, 200);
  }
  await server.kill();
  /** Whether it dies of it; else the body is set aside and the others are stored. */
  const dies = async (): Promise<boolean> => {
    try {
      running = await Server.start(dataDir, { FAILPOINT: 'poison-body' });
      for (const deadline = Date.now() + MAX_WAIT_MS; running.program.isRunning; await sleep(20)) {
        const { failedEntries, waitingEntries } = await running.queue();
        if (failedEntries === 1 && waitingEntries === 0) return false;
        assert.ok(Date.now() < deadline, `${waitingEntries} wait, ${failedEntries} failed`);
      }
      return true;
    } catch (error) {
      // It can die before it listens, or while it is asked.
      if (error instanceof assert.AssertionError) throw error;
      if (!(error instanceof StartFailed)) await running?.program.exited;
      return true;
    }
  };
  assert.equal(await dies(), true);
  assert.equal(await dies(), false, 'it died again');
  await running?.stop();
  assert.equal(await countRows(dataDir, 'logs'), 2);
});
