import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import pino from 'pino';
import { type RedisServer, startRedis } from '../../test/support/redis-server.js';
import { bucketStoreContract } from '../edge/bucket-store.suite.js';
import { openRedis, type Redis, RedisAway } from './redis.js';
import { RedisBuckets } from './redis-buckets.js';

const log = pino({ level: 'silent' });
const limit = { limit: 10, ttlMs: 60_000 };

async function until(what: string, condition: () => boolean | Promise<boolean>): Promise<void> {
  for (const deadline = Date.now() + 10_000; !(await condition()); await sleep(10))
    assert.ok(Date.now() < deadline, what);
}

describe('Redis', () => {
  let server: RedisServer;
  let redis: Redis;
  let buckets: RedisBuckets;
  before(async () => {
    server = await startRedis();
    redis = openRedis(server.url, { database: 2, log });
    buckets = new RedisBuckets(redis);
    await until('connected', () => redis.isUp);
  });
  after(async () => {
    redis.close();
    await server.stop();
  });

  bucketStoreContract('Redis', () => buckets);

  it('holds buckets in its database 2, under their prefix, for as long as they are not full', async () => {
    await redis.request((client) => client.flushall());
    await buckets.take('short', { limit: 2, ttlMs: 400 }, 1);
    await buckets.take('long', limit, 1);
    const keys = await redis.request((client) => client.keys('*'));
    assert.deepEqual(keys.sort(), ['tf:bucket:long', 'tf:bucket:short']);
    const other = openRedis(`${server.url}/5`, { database: 2, log });
    await until('connected', () => other.isUp);
    assert.equal(await other.request((client) => client.dbsize()), 0, 'a database in the URL comes first');
    other.close();
    await sleep(300);
    assert.deepEqual(await redis.request((client) => client.keys('*')), ['tf:bucket:long']);
  });

  it('that has forgotten its scripts is told them again', async () => {
    await redis.request((client) => client.script('FLUSH'));
    assert.equal((await buckets.take('scripts', limit, 1)).remaining, 9);
    assert.equal((await buckets.take('scripts', limit, 1)).remaining, 8);
  });

  it('whose clock is set back neither gives tokens nor keeps them', async () => {
    const future = Date.now() + 3_600_000;
    await redis.request((client) => client.set('tf:bucket:future', `5.5 ${future}`));
    const taken = await buckets.take('future', limit, 1);
    assert.deepEqual([taken.allowed, taken.bucket.tokens], [true, 4.5]);
    assert.ok(taken.bucket.atMs < future - 3_000_000);
  });

  it('that stops answering holds nobody for longer than 200 ms, the next not at all, and comes back by itself', async () => {
    server.freeze();
    const startedAt = performance.now();
    await assert.rejects(buckets.take('frozen', limit, 1), RedisAway);
    const firstMs = performance.now() - startedAt;
    assert.ok(firstMs >= 150 && firstMs < 400, `${firstMs} ms`);
    assert.equal(buckets.isUp, false);
    const again = performance.now();
    for (let n = 0; n < 100; n++) await assert.rejects(buckets.take('frozen', limit, 1), RedisAway);
    assert.ok(performance.now() - again < 100, 'refused at once');
    assert.equal((await redis.health()).status, 'down');
    server.thaw();
    await until('back', () => redis.isUp);
    assert.deepEqual(await redis.health(), { status: 'up' });
  });

  it('that is killed is away at once, and used again when it is back', async () => {
    const loads = Array.from({ length: 50 }, () => buckets.take('killed', limit, 1).catch(() => undefined));
    await server.kill();
    await Promise.all(loads);
    await until('noticed', () => !redis.isUp);
    const health = await redis.health();
    assert.equal(health.status, 'down');
    await until('refused', async () => /ECONNREFUSED/.test((await redis.health()).detail ?? ''));
    await server.start();
    await until('back', () => redis.isUp);
    assert.equal((await buckets.take('killed', limit, 1)).remaining, 9);
  });

  it('that is not there at the start is waited for in the background', async () => {
    await server.kill();
    const early = openRedis(server.url, { database: 2, log });
    await assert.rejects(
      early.request((client) => client.ping()),
      RedisAway,
    );
    await server.start();
    await until('connected', () => early.isUp);
    early.close();
  });
});
