import assert from 'node:assert/strict';
import { after, describe, it } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Failpoint } from '../src/failpoints.js';
import { queryStore } from './support/engine.js';
import { assertExactlyOnce, COUNTING_VIEWS, Load, type SentBody, sendBody } from './support/load.js';
import { rounds, variants } from './support/rounds.js';
import { Random } from './support/seed.js';
import { makeDataDir, Server, StartFailed } from './support/server.js';

const ROUNDS = rounds(20);
const MAX_SENDING_MS = 800;
const MAX_UNTIL_FAILPOINT_MS = 10_000;

/** Every named step; the compiler sees to it that none is left out. */
const STEPS: Record<Failpoint, readonly number[]> = {
  'request-read': [1, 40],
  'journal-written': [1, 7],
  'journal-synced': [1, 40],
  'batch-planned': [1, 4],
  'batch-transcoded': [1, 4],
  'insert-started': [1, 4],
  'insert-finished': [1, 4],
  'ledger-written': [1, 2],
  'batch-done': [1, 4],
  'segment-deleted': [1, 2],
};

/** What a client does whose answer never came: it sends the same again until it is told that it arrived. */
async function resendUnacknowledged(server: Server, bodies: SentBody[]): Promise<void> {
  for (const body of bodies) {
    while (!body.isAcknowledged && server.program.isRunning) {
      if ((await sendBody(server.otlp, body)) === 503) await sleep(20);
    }
  }
}

async function assertAllThere(dataDir: string, bodies: SentBody[]): Promise<void> {
  const server = await Server.start(dataDir);
  await resendUnacknowledged(server, bodies.slice(-200));
  await server.drained();
  await server.stop();
  await assertExactlyOnce(dataDir, bodies, true);
}

describe('kill -9', { concurrency: false }, () => {
  const random = Random.announced('kill');
  const dataDir = makeDataDir();
  const bodies: SentBody[] = [];
  let running: Server | undefined;
  after(() => running?.kill());

  it('starts with views on every table, as a stand-in for whatever views there will be', async () => {
    const server = await Server.start(dataDir);
    await server.stop();
    await queryStore(dataDir, ...COUNTING_VIEWS);
  });

  it(`${ROUNDS} times at random moments of a sending run: every acknowledged item is there exactly once`, async () => {
    for (let round = 0; round < ROUNDS; round++) {
      const server = await Server.start(dataDir);
      running = server;
      // The clients of an odd round send again what the kill left open; those of an even one forget it.
      if (round % 2 === 1) await resendUnacknowledged(server, bodies.slice(-200));
      const load = new Load(server.otlp, random, `r${round}`);
      await sleep(20 + random.below(MAX_SENDING_MS));
      await server.kill();
      await load.ended();
      bodies.push(...load.bodies);
      assert.ok(load.bodies.length > 0);
    }
    await assertAllThere(dataDir, bodies);
  });

  for (const [step, counts] of Object.entries(STEPS)) {
    for (const count of variants(counts, random)) {
      it(`at the step ${step}, the ${count}. time: nothing acknowledged is lost or doubled`, async () => {
        const name = `f${step.replaceAll('-', '')}x${count}`;
        try {
          const server = await Server.start(dataDir, { FAILPOINT: `${step}:${count}` });
          running = server;
          const load = new Load(server.otlp, random, name);
          const exit = await Promise.race([
            server.program.exited,
            sleep(MAX_UNTIL_FAILPOINT_MS, undefined, { ref: false }),
          ]);
          if (!exit) await server.kill();
          await load.ended();
          bodies.push(...load.bodies);
          assert.deepEqual(exit, { code: null, signal: 'SIGKILL' }, `${step} was not reached`);
        } catch (error) {
          // A step can be reached before it listens, with what the last kill left.
          if (!(error instanceof StartFailed && error.exit.signal === 'SIGKILL')) throw error;
        }
      });
    }
  }

  it('after all of that every acknowledged item is there exactly once, in every table and view', async () => {
    await assertAllThere(dataDir, bodies);
    const acknowledged = bodies.filter((body) => body.isAcknowledged);
    const items = acknowledged.reduce((sum, body) => sum + body.items, 0);
    console.log(
      `# kill: ${acknowledged.length} acknowledged bodies with ${items} items, ${bodies.length} sent`,
    );
    assert.ok(acknowledged.length > 200);
  });

  it('the hours of all points are noted, and so are those after them', async () => {
    const owner = 'organization_id, workspace_id, tenant_id';
    const [{ hours, missing }] = await queryStore<{ hours: string; missing: string }>(
      dataDir,
      `SELECT count() AS hours, countIf((${owner}, hour) NOT IN (SELECT ${owner}, hour FROM rollup_hours WHERE touched_at > 0)) AS missing
FROM (SELECT DISTINCT ${owner}, arrayJoin([toStartOfHour(timestamp), toStartOfHour(timestamp) + 3600]) AS hour FROM telemetry_metrics)`,
    );
    assert.notEqual(Number(hours), 0);
    assert.equal(Number(missing), 0);
  });
});
