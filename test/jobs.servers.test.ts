import assert from 'node:assert/strict';
import { afterEach, describe, it } from 'node:test';
import { Redis as Client } from 'ioredis';
import { getJson } from './support/http.js';
import { DURABLE, type RedisServer, startRedis } from './support/redis-server.js';
import { makeDataDir, Server, StartFailed } from './support/server.js';
import { until } from './support/until.js';

describe('The program on a Redis for its jobs', () => {
  let redis: RedisServer;
  let server: Server | undefined;
  const start = async (env: Record<string, string> = {}) => {
    server = await Server.start(makeDataDir(), { REDIS_URL: redis.url, ...env });
    return server;
  };
  const jobsOf = async (running: Server) => {
    const { status, body } = await getJson(`${running.api}/health/ready`);
    const { jobs } = (body as { dependencies: { jobs?: { status: string; detail?: string } } }).dependencies;
    return { status, jobs };
  };
  const refuses = (message: RegExp) =>
    assert.rejects(
      start(),
      (error) =>
        error instanceof StartFailed &&
        message.test(error.output) &&
        /REDIS_ALLOW_VOLATILE=1/.test(error.output),
    );
  afterEach(async () => {
    await server?.stop();
    server = undefined;
    await redis.stop();
  });

  it('starts when jobs are safe in it, and stops within its time', async () => {
    redis = await startRedis([...DURABLE, '--maxmemory', '100mb']);
    const running = await start();
    assert.deepEqual(await jobsOf(running), { status: 200, jobs: { status: 'up' } });
  });

  it('does not start when it keeps nothing or evicts, unless that is accepted', async () => {
    redis = await startRedis(['--maxmemory-policy', 'allkeys-lru']);
    await refuses(/maxmemory-policy is allkeys-lru.*appendonly is off/);
    const running = await start({ REDIS_ALLOW_VOLATILE: '1' });
    assert.deepEqual(await jobsOf(running), { status: 200, jobs: { status: 'up' } });
  });

  it('sees it also where CONFIG is forbidden', async () => {
    redis = await startRedis(['--rename-command', 'CONFIG', '']);
    await refuses(/appendonly is off/);
    await redis.stop();
    redis = await startRedis([...DURABLE, '--rename-command', 'CONFIG', '']);
    assert.equal((await jobsOf(await start())).status, 200);
  });

  it('starts without it, and says that it is not healthy when it comes and may lose jobs', async () => {
    redis = await startRedis();
    await redis.kill();
    const running = await start();
    assert.equal((await jobsOf(running)).status, 200);
    await redis.start();
    await until('it is seen', async () => (await jobsOf(running)).status === 503);
    assert.match((await jobsOf(running)).jobs!.detail!, /appendonly is off/);
    assert.match(running.program.stderr, /jobs may be lost/);
    const client = new Client(redis.url);
    await client.config('SET', 'appendonly', 'yes');
    await client.call('CLIENT', 'KILL', 'TYPE', 'normal', 'SKIPME', 'yes');
    client.disconnect();
    await until('it is mended', async () => (await jobsOf(running)).status === 200);
  });
});
