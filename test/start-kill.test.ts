import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { getJson } from './support/http.js';
import { Random } from './support/seed.js';
import { makeDataDir, Program, Server } from './support/server.js';

const FOLDERS = 2;
const KILLS_EACH = 4;

describe('kill -9 while it starts for the first time', { concurrency: false }, () => {
  const random = Random.announced('start-kill');

  it(`${FOLDERS * KILLS_EACH} times: the next start finds a folder that it can use`, async () => {
    let usualMs = 3000;
    for (let folder = 0; folder < FOLDERS; folder++) {
      const dataDir = makeDataDir();
      for (let round = 0; round < KILLS_EACH; round++) {
        const program = new Program(['start'], {
          DATA_DIR: dataDir,
          PORT: '0',
          OTLP_HTTP_PORT: '0',
          OTLP_GRPC_PORT: '0',
        });
        await Promise.race([sleep(200 + random.below(usualMs)), program.exited]);
        assert.ok(program.isRunning, `a start after a kill failed:\n${program.output}`);
        program.child.kill('SIGKILL');
        await program.exited;
      }
      const server = await Server.start(dataDir);
      usualMs = server.startedInMs;
      assert.equal((await getJson(`${server.api}/health/ready`)).status, 200);
      await server.stop();
    }
  });
});
