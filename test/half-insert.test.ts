import assert from 'node:assert/strict';
import { readdirSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import { queryStore } from './support/engine.js';
import { assertExactlyOnce, COUNTING_VIEWS, makeBody, type SentBody, sendBody } from './support/load.js';
import { variants } from './support/rounds.js';
import { Random } from './support/seed.js';
import { makeDataDir, Server } from './support/server.js';

const BODIES = 40;

/**
 * The engine commits an insert part by part, and notes each in a log before it is there. A kill can fall between any two of
 * these steps; this makes the states that a kill at random moments finds once in many runs.
 */
describe('kill -9 within an insert', { concurrency: false }, () => {
  const random = Random.announced('half-insert');
  let running: Server | undefined;
  after(() => running?.kill());

  async function tablePath(dataDir: string, table: string): Promise<string> {
    const [{ path }] = await queryStore<{ path: string }>(
      dataDir,
      `SELECT data_paths[1] AS path FROM system.tables WHERE database = currentDatabase() AND name = '${table}'`,
    );
    return path;
  }

  /** Parts of a table in the order in which they were inserted. */
  function insertedParts(path: string): string[] {
    const logs = join(path, 'deduplication_logs');
    const lines = readdirSync(logs).flatMap((name) => readFileSync(join(logs, name), 'utf8').split('\n'));
    return lines.filter((line) => line.startsWith('1\t')).map((line) => line.split('\t')[1]);
  }

  for (const table of variants(['telemetry_traces', 'test_counts_traces', 'mv_service_list'], random)) {
    it(`between noting a part of ${table} and its commit: the rest is inserted after the restart, once`, async () => {
      const dataDir = makeDataDir();
      running = await Server.start(dataDir);
      await running.stop();
      await queryStore(dataDir, ...COUNTING_VIEWS);
      running = await Server.startIdle(dataDir);
      const bodies: SentBody[] = [];
      while (bodies.length < BODIES) {
        const body = makeBody(random, `half${bodies.length}n${random.below(1e6)}`);
        if (body.signal === 'traces') bodies.push(body);
        if (body.signal === 'traces') assert.equal(await sendBody(running.otlp, body), 200);
      }
      await running.kill();
      // The first batch is inserted, and then it dies before it could say so.
      const dying = await Server.start(dataDir, { FAILPOINT: 'insert-finished:1' }).catch(() => undefined);
      await dying?.program.exited;
      const path = await tablePath(dataDir, table);
      const parts = insertedParts(path);
      assert.ok(parts.length >= (table === 'telemetry_traces' ? 2 : 1), 'several days, several parts');
      rmSync(join(path, parts[parts.length - 1]), { recursive: true });
      running = await Server.start(dataDir);
      await running.drained();
      await running.stop();
      await assertExactlyOnce(dataDir, bodies, true);
    });
  }
});
