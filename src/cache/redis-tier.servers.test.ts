import assert from 'node:assert/strict';
import { after, before, beforeEach, describe, it } from 'node:test';
import pino from 'pino';
import { type RedisServer, startRedis } from '../../test/support/redis-server.js';
import { until } from '../../test/support/until.js';
import { openRedis, type Redis } from '../connections/redis.js';
import { keys, keysUnder } from './cache-key.js';
import type { Invalidation } from './invalidation.js';
import { RedisTier } from './redis-tier.js';
import { tierContract } from './tier.suite.js';

const log = pino({ level: 'silent' });
const t1 = { organizationId: 'o', workspaceId: 'w', tenantId: 't1' };
const key = keys.metrics(t1, 'cpu', 'a');
const ttl = { freshMs: 60_000, graceMs: 10_000 };

describe('The cache in Redis', () => {
  let server: RedisServer;
  let redis: Redis;
  let tier: RedisTier;
  /** Of another instance. */
  let other: RedisTier;
  let tokens = 0;
  const newToken = () => `token-${++tokens}`;
  const lookUp = (of = tier) => of.lease(key, newToken(), 0);
  const run = (...command: [string, ...string[]]) => redis.request((client) => client.call(...command));

  before(async () => {
    server = await startRedis();
    redis = openRedis(server.url, { database: 1, log });
    tier = new RedisTier(redis, 'channel', 'one');
    other = new RedisTier(redis, 'channel', 'two');
    await until('connected', () => redis.isUp);
  });
  after(async () => {
    redis.close();
    await server.stop();
  });
  beforeEach(() => run('FLUSHALL'));

  tierContract('Redis', () => ({
    put: (name, value, freshMs, graceMs) => tier.put(name, value, { freshMs, graceMs }),
    get: async (name) => {
      const { found } = await tier.lookUp(name);
      return found && { value: found.text, isFresh: found.freshMs > 0 };
    },
    invalidate: (invalidation) => tier.invalidate(invalidation),
  }));

  it('is under its prefix in database 1, and each value is over by itself', async () => {
    await tier.put(key, '1', ttl);
    assert.deepEqual(((await run('KEYS', '*')) as string[]).sort(), [
      'tf:cache:all',
      'tf:cache:count',
      'tf:cache:g:metrics:',
      'tf:cache:g:metrics:t1:',
      'tf:cache:g:metrics:t1:cpu:',
      'tf:cache:v:metrics:t1:cpu:a',
    ]);
    const leftMs = Number(await run('PTTL', 'tf:cache:v:metrics:t1:cpu:a'));
    assert.ok(leftMs > 69_000 && leftMs <= 70_000, `${leftMs}`);
  });

  it('gives one of many the lease, and the next when it is given back or over', async () => {
    const lookups = await Promise.all(Array.from({ length: 50 }, (_, n) => lookUp(n % 2 ? tier : other)));
    const [lease, ...more] = lookups.flatMap((looked) => looked.lease ?? []);
    assert.ok(lease);
    assert.equal(more.length, 0);
    await other.release(key, { token: 'not mine', began: '' });
    assert.equal((await lookUp()).lease, undefined, 'only its holder can give it back');
    await tier.release(key, lease);
    const next = (await lookUp(other)).lease;
    assert.ok(next);
    assert.equal(await tier.store(key, 'late', ttl, lease), false, 'not with a lease that was given back');
    assert.equal(await other.store(key, 'v', ttl, next), true);
    const { found, lease: none } = await lookUp();
    assert.deepEqual([found?.text, none], ['v', undefined]);
  });

  it('holds a lease for 5 s, longer when it is renewed, and not for others', async () => {
    const { lease } = await lookUp();
    const leftMs = async () => Number(await run('PTTL', `tf:cache:l:${key}`));
    assert.ok((await leftMs()) > 4_000 && (await leftMs()) <= 5_000);
    await run('PEXPIRE', `tf:cache:l:${key}`, '1000');
    await other.renew(key, { token: 'not mine', began: '' });
    assert.ok((await leftMs()) <= 1_000);
    await tier.renew(key, lease!);
    assert.ok((await leftMs()) > 4_000);
    await run('DEL', `tf:cache:l:${key}`);
    assert.equal(await tier.store(key, 'v', ttl, lease!), false, 'over');
  });

  const meaning: [string, Invalidation][] = [
    ['its key', { kind: 'key', key }],
    ['its prefix', { kind: 'pattern', pattern: keysUnder('metrics') }],
    ['its tenant', { kind: 'pattern', pattern: keysUnder('metrics', t1) }],
    ['one part more', { kind: 'pattern', pattern: keysUnder('metrics', t1, 'cpu') }],
    ['any pattern that means it', { kind: 'pattern', pattern: '*:cpu:*' }],
    ['everything', { kind: 'all' }],
  ];
  for (const [what, invalidation] of meaning)
    it(`never stores what was begun before the invalidation of ${what}`, async () => {
      const { lease } = await lookUp();
      await other.invalidate(invalidation);
      assert.equal(await tier.store(key, 'old', ttl, lease!), false);
      const next = await lookUp();
      assert.equal(next.found, undefined);
      assert.ok(next.lease);
      assert.equal(await tier.store(key, 'new', ttl, next.lease), true);
    });

  it('stores what was begun before the invalidation of something else', async () => {
    const { lease } = await lookUp();
    for (const pattern of ['logs:t1:*', 'metrics:t2:*', 'metrics:t1:cpu2:*'])
      await other.invalidate({ kind: 'pattern', pattern });
    await other.invalidate({ kind: 'key', key: keys.metrics(t1, 'cpu', 'b') });
    assert.equal(await tier.store(key, 'v', ttl, lease!), true);
  });

  it('never stores what was begun before another value was put', async () => {
    const { lease } = await lookUp();
    await other.put(key, 'put', ttl);
    assert.equal(await tier.store(key, 'computed', ttl, lease!), false);
    assert.equal((await lookUp()).found?.text, 'put');
  });

  it('that was flushed has nothing, and never stores what was begun before', async () => {
    await other.invalidate({ kind: 'pattern', pattern: keysUnder('metrics', t1) });
    const { lease } = await lookUp();
    await run('FLUSHALL');
    assert.equal(await tier.store(key, 'old', ttl, lease!), false);
    const again = await lookUp();
    await run('DEL', 'tf:cache:g:metrics:t1:');
    assert.equal(await tier.store(key, 'old', ttl, again.lease!), false, 'also when only a version is gone');
    assert.ok((await lookUp()).lease, 'which keeps nobody from the lease');
  });

  for (const version of ['all', 'g:metrics:', 'g:metrics:t1:', 'g:metrics:t1:cpu:'])
    it(`does not give back old values when it evicts a version, ${version}`, async () => {
      const names = ['v:metrics:t1:cpu:a', version].map((name) => `tf:cache:${name}`);
      await tier.put(key, 'old', ttl);
      const [old] = (await run('MGET', ...names)) as string[];
      await tier.invalidate({ kind: 'pattern', pattern: keysUnder('metrics', t1) });
      await run('DEL', names[1]);
      assert.equal((await tier.lookUp(key)).found, undefined);
      const { found, lease } = await lookUp();
      assert.equal(found, undefined);
      assert.equal(await tier.store(key, 'new', ttl, lease!), true, 'under another version');
      await run('SET', names[0], old);
      assert.equal((await tier.lookUp(key)).found, undefined);
    });

  it('gives the lease also beside a value that is fresh for a short time yet, to who asks for more', async () => {
    await tier.put(key, 'v', ttl);
    const { found, lease: none } = await tier.lease(key, newToken(), 50_000);
    assert.ok(found && found.freshMs > 50_000 && found.freshMs <= 60_000, `${found?.freshMs}`);
    assert.equal(none, undefined);
    await until('given back', async () => (await run('EXISTS', `tf:cache:l:${key}`)) === 0);
    const looked = await other.lease(key, newToken(), 60_000);
    assert.equal(looked.found?.text, 'v');
    assert.equal(await other.store(key, 'newer', ttl, looked.lease!), true);
    assert.equal((await tier.lookUp(key)).found?.text, 'newer');
  });

  it('is told its scripts again where it has forgotten them', async () => {
    await run('SCRIPT', 'FLUSH');
    const { lease } = await lookUp();
    await run('SCRIPT', 'FLUSH');
    assert.equal(await tier.store(key, 'v', ttl, lease!), true);
    assert.equal((await lookUp()).found?.text, 'v');
  });

  it('that comes back with a state of before has nothing', async () => {
    await tier.put(key, 'of before', ttl);
    assert.equal((await lookUp()).found?.text, 'of before');
    await run('SET', 'tf:cache:run', 'another run');
    const later = new RedisTier(redis, 'channel', 'three');
    assert.equal((await lookUp(later)).found, undefined);
    await later.put(key, 'new', ttl);
    const third = new RedisTier(redis, 'channel', 'four');
    assert.equal((await lookUp(third)).found?.text, 'new', 'once for each run');
  });

  it('leaves what is not the cache’s alone, also when everything is dropped', async () => {
    await run('SET', 'tf:bucket:x', '1');
    await run('SET', 'somebody:metrics:t1:cpu:a', '1');
    // In small lots: 2,500 at once may take longer than the 200 ms that each of them has.
    for (let lot = 0; lot < 2500; lot += 100)
      await Promise.all(
        Array.from({ length: 100 }, (_, n) => tier.put(keys.metrics(t1, 'cpu', `${lot + n}`), 'v', ttl)),
      );
    await tier.invalidate({ kind: 'pattern', pattern: '*metrics*' });
    await tier.invalidate({ kind: 'all' });
    assert.deepEqual(((await run('KEYS', '*')) as string[]).sort(), [
      'somebody:metrics:t1:cpu:a',
      'tf:bucket:x',
      ...['count', 'g:metrics:', 'g:metrics:t1:', 'g:metrics:t1:cpu:'].map((name) => `tf:cache:${name}`),
    ]);
  });
});
