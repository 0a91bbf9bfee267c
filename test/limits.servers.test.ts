import assert from 'node:assert/strict';
import { Agent } from 'node:http';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { openPostgres, type Postgres } from '../src/connections/postgres.js';
import { type Answer, getJson } from './support/http.js';
import { logRecord, requestOf } from './support/items.js';
import { encode, readSuccess, sendOtlp } from './support/otlp-client.js';
import { type PostgresServer, startPostgres } from './support/postgres-server.js';
import { type RedisServer, startRedis } from './support/redis-server.js';
import { makeDataDir, Server } from './support/server.js';

const LIMIT = 400;
const MAX_ANSWER_MS = 500;

interface RedisHealth {
  status: 'up' | 'down';
  detail?: string;
  degraded?: string;
}

async function until(what: string, condition: () => Promise<boolean>): Promise<void> {
  for (const deadline = Date.now() + 15_000; !(await condition()); await sleep(50))
    assert.ok(Date.now() < deadline, what);
}

const bodyOf = (marker: string) => encode('logs', 'protobuf', requestOf('logs', [logRecord(marker)]));
const countOf = (answers: Answer[], status: number) =>
  answers.filter((answer) => answer.status === status).length;

async function redisOf(server: Server): Promise<RedisHealth> {
  const { status, body } = await getJson(`${server.api}/health/ready`);
  assert.equal(status, 200, 'Redis is not needed to be ready');
  return (body as { dependencies: { redis: RedisHealth } }).dependencies.redis;
}

describe('Two instances on one Redis', () => {
  let redis: RedisServer;
  let servers: Server[];
  const agent = new Agent({ keepAlive: true, maxSockets: 64 });
  const send = (server: Server, marker: string) =>
    sendOtlp(server.otlp, 'logs', 'protobuf', bodyOf(marker), { agent });
  before(async () => {
    redis = await startRedis();
    const env = {
      REDIS_URL: redis.url,
      REDIS_ALLOW_VOLATILE: '1',
      THROTTLE_INGESTION_TTL: '86400000',
      THROTTLE_INGESTION_LIMIT: String(LIMIT),
    };
    servers = await Promise.all([1, 2].map(() => Server.start(makeDataDir(), env)));
    for (const server of servers)
      await until('Redis is up', async () => (await redisOf(server)).status === 'up');
  });
  after(async () => {
    agent.destroy();
    for (const server of servers) await server.stop();
    await redis.stop();
  });

  it('let through exactly the limit of a thousand requests at once', async () => {
    const sending = Array.from({ length: 1000 }, (_, n) => send(servers[n % 2], `shared ${n}`));
    const answers = await Promise.all(sending);
    assert.deepEqual([countOf(answers, 200), countOf(answers, 429)], [LIMIT, 1000 - LIMIT]);
    for (const server of servers) assert.deepEqual(await redisOf(server), { status: 'up' });
    assert.equal((await send(servers[0], 'one more')).status, 429);
  });

  for (const [how, stop, restart] of [
    ['frozen', () => redis.freeze(), () => redis.thaw()],
    ['killed', () => redis.kill(), () => redis.start()],
  ] as const) {
    it(`answer in time while Redis is ${how}, go on with limits of their own, and come back by themselves`, async (test) => {
      let isDone = false;
      const answers: { ms: number; status: number }[] = [];
      const load = async (server: Server, worker: number) => {
        for (let n = 0; !isDone; n++) {
          const startedAt = performance.now();
          const { status } = await send(server, `${how} ${worker} ${n}`);
          answers.push({ ms: performance.now() - startedAt, status });
          await sleep(10);
        }
      };
      const loads = [0, 1, 2, 3, 4, 5].map((worker) => load(servers[worker % 2], worker));
      await sleep(500);
      await stop();
      await sleep(3000);
      for (const server of servers) {
        const health = await redisOf(server);
        assert.equal(health.status, 'down');
        assert.equal(health.degraded, 'rate limits per process');
        assert.ok(health.detail, 'says why');
      }
      const before = answers.length;
      await restart();
      for (const server of servers)
        await until('Redis is back', async () => (await redisOf(server)).status === 'up');
      isDone = true;
      await Promise.all(loads);
      assert.ok(before > 100, `${before} requests`);
      const slowest = Math.max(...answers.map(({ ms }) => ms));
      test.diagnostic(`${answers.length} answers, the slowest after ${slowest.toFixed(0)} ms`);
      assert.ok(slowest < MAX_ANSWER_MS, `the slowest of ${answers.length} took ${slowest} ms`);
      assert.ok(answers.every(({ status }) => status === 200 || status === 429));
    });
  }

  it('are each limited while Redis is away', async () => {
    await redis.kill();
    for (const server of servers)
      await until('Redis is away', async () => (await redisOf(server)).status === 'down');
    for (const server of servers) {
      const answers = await Promise.all(
        Array.from({ length: LIMIT + 100 }, (_, n) => send(server, `away ${n}`)),
      );
      assert.ok(countOf(answers, 200) <= LIMIT, 'never unlimited');
      assert.equal((await send(server, 'one more')).status, 429);
    }
    await redis.start();
    for (const server of servers)
      await until('Redis is back', async () => (await redisOf(server)).status === 'up');
    assert.equal((await send(servers[0], 'back')).headers['x-ratelimit-remaining'], String(LIMIT - 1));
  });
});

describe('Without its Redis', () => {
  it('the program starts, and says what that means', async () => {
    const server = await Server.start(makeDataDir(), { REDIS_URL: 'redis://127.0.0.1:1' });
    const health = await redisOf(server);
    assert.deepEqual([health.status, health.degraded], ['down', 'rate limits per process']);
    assert.match(health.detail!, /ECONNREFUSED/);
    readSuccess(await sendOtlp(server.otlp, 'logs', 'protobuf', bodyOf('no redis')), 'logs', 'protobuf', 200);
    await server.stop();
  });
});

describe('A tenant’s quota', () => {
  const folder = makeDataDir();
  let server: PostgresServer;
  let postgres: Postgres;
  let program: Server;
  before(async () => {
    server = await startPostgres();
    postgres = await openPostgres({ DATA_DIR: folder, DATABASE_URL: server.url });
    program = await Server.start(join(folder, 'data'), { DATABASE_URL: server.url });
  });
  after(async () => {
    await program.stop();
    await postgres.close();
    await server.stop();
  });
  const logs = (count: number) =>
    encode(
      'logs',
      'json',
      requestOf(
        'logs',
        Array.from({ length: count }, (_, n) => logRecord(`quota ${n}`)),
      ),
    );
  const send = (body: Buffer) => sendOtlp(program.otlp, 'logs', 'json', body);

  it('ends what is taken in that day, counts each item once, and outlives a restart', async () => {
    await postgres.query('UPDATE tenants SET items_per_day = 10');
    const six = logs(6);
    const rejected = requestOf(
      'logs',
      Array.from({ length: 20 }, () => logRecord('old', { timeUnixNano: '1' })),
    );
    readSuccess(await send(six), 'logs', 'json', 200);
    for (let n = 0; n < 5; n++) readSuccess(await send(six), 'logs', 'json', 200);
    assert.equal(readSuccess(await send(encode('logs', 'json', rejected)), 'logs', 'json', 200).rejected, 20);
    const four = logs(4);
    readSuccess(await send(four), 'logs', 'json', 200);
    const answer = await send(logs(1));
    assert.equal(answer.status, 429);
    assert.deepEqual(JSON.parse(answer.body.toString()), {
      code: 8,
      message: "The tenant's quota of 10 items a day is used up; it starts anew at 00:00 UTC.",
    });
    const untilMidnight = (86_400_000 - (Date.now() % 86_400_000)) / 1000;
    assert.ok(Math.abs(Number(answer.headers['retry-after']) - untilMidnight) < 5);
    const question = await getJson(`${program.api}/api/v1/logs`, program.key);
    assert.equal(question.status, 200, 'asking goes on');
    await program.stop();
    program = await Server.start(join(folder, 'data'), { DATABASE_URL: server.url });
    assert.equal((await send(logs(1))).status, 429);
    const sql = 'SELECT items::integer, bytes::integer FROM tenant_usage';
    assert.deepEqual(await postgres.query(sql), [{ items: 10, bytes: six.length + four.length }]);
  });
});
