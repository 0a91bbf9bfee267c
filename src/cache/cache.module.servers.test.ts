import assert from 'node:assert/strict';
import { after, afterEach, before, describe, it } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import pino from 'pino';
import { chaosOver } from '../../test/support/chaos-tier.js';
import { randomFrom } from '../../test/support/random.js';
import { type RedisServer, startRedis } from '../../test/support/redis-server.js';
import { until } from '../../test/support/until.js';
import { type OpenCache, openCache } from './cache.module.js';
import type { CacheService } from './cache.service.js';
import { keys, keysUnder } from './cache-key.js';
import { CacheProfile } from './cache-profile.js';

const log = pino({ level: 'silent' });
const scope = { organizationId: 'o', workspaceId: 'w', tenantId: 't1' };
const key = keys.metrics(scope, 'cpu', 'a');
const { SHORT } = CacheProfile;

describe('Instances of the cache on one Redis', () => {
  let server: RedisServer;
  let open: OpenCache[] = [];

  async function start(wrapTier?: Parameters<typeof openCache>[2]): Promise<OpenCache> {
    const settings = { REDIS_URL: server.url, CACHE_L1_ENTRIES: 1000, CACHE_L1_BYTES: 1e8 };
    const opened = openCache(settings, log, wrapTier);
    open.push(opened);
    await until('connected', () => opened.service.getStats().isListening && opened.redis!.isUp);
    return opened;
  }
  const startTwo = async () => {
    const [one, two] = [await start(), await start()];
    return [one.service, two.service, one, two] as const;
  };
  const wrap = (cache: CacheService, value: unknown) => cache.wrap(key, SHORT, async () => value);
  const run = (...command: [string, ...string[]]) =>
    open[0].redis!.request((client) => client.call(...command));

  before(async () => {
    server = await startRedis();
  });
  after(() => server.stop());
  afterEach(async () => {
    try {
      await until('Redis is there', () => open[0].redis!.isUp);
      await run('FLUSHALL');
    } finally {
      for (const opened of open) await opened.close();
      open = [];
    }
  });

  it('share what one of them has computed, then have it in memory, for no longer than Redis', async () => {
    const [one, two] = await startTwo();
    assert.deepEqual(await wrap(one, { n: 1 }), { value: { n: 1 }, source: 'miss' });
    assert.deepEqual(await wrap(two, { n: 2 }), { value: { n: 1 }, source: 'L2' });
    assert.deepEqual(await wrap(two, { n: 2 }), { value: { n: 1 }, source: 'L1' });
    assert.deepEqual(await two.get(key), { n: 1 });
    const brief = { l1Seconds: 60, l2Seconds: 1 };
    await one.set(key, 'set', brief);
    await until('the neighbour has forgotten', () => two.getStats().l1.entries === 0);
    const read = () => two.wrap(key, brief, async () => 'new');
    const { value, source } = await read();
    if (source === 'L2') assert.equal(value, 'set');
    await sleep(1_050);
    assert.equal((await read()).value, 'new', 'its lifetime in Redis was over');
    assert.equal(two.getStats().l2!.errors, 0);
  });

  for (const [what, invalidate] of [
    ['a key', (cache: CacheService) => cache.del(key)],
    ['a tenant', (cache: CacheService) => cache.delPattern(keysUnder('metrics', scope))],
    ['any pattern', (cache: CacheService) => cache.delPattern('*cpu*')],
    ['everything', (cache: CacheService) => cache.clear()],
    ['a value that is put in place of another', (cache: CacheService) => cache.set(key, 'other', SHORT)],
  ] as const)
    it(`hear of an invalidation of ${what} within 100 ms`, async (test) => {
      const [one, two] = await startTwo();
      const times: number[] = [];
      for (let round = 0; round < 20; round++) {
        await one.del(key);
        await until(
          'settled',
          async () =>
            (await wrap(two, `old ${round}`)).source === 'L1' && (await two.get(key)) === `old ${round}`,
        );
        await sleep(5);
        if ((await wrap(two, 'later')).value !== `old ${round}`) continue;
        const startedAt = performance.now();
        await invalidate(one);
        while (two.getStats().l1.entries > 0) await new Promise(setImmediate);
        times.push(performance.now() - startedAt);
        assert.notEqual((await wrap(two, 'new')).value, `old ${round}`);
      }
      times.sort((a, b) => a - b);
      const median = times[times.length >> 1];
      test.diagnostic(`${what}: median ${median.toFixed(2)} ms, longest ${times.at(-1)!.toFixed(2)} ms`);
      assert.ok(median < 100, `${median} ms`);
      assert.ok(times.at(-1)! < 1000);
    });

  it('compute once for a thousand who come to both of them', async () => {
    const [one, two] = await startTwo();
    let computed = 0;
    const source = async () => {
      computed++;
      await sleep(150);
      return 'v';
    };
    const answers = await Promise.all(
      Array.from({ length: 1000 }, (_, n) => (n % 2 ? one : two).wrap(key, SHORT, source)),
    );
    assert.equal(computed, 1);
    assert.ok(answers.every(({ value }) => value === 'v'));
    assert.deepEqual([one, two].map((cache) => cache.getStats().computed.count).sort(), [0, 1]);
  });

  it('compute once also when that takes longer than a lease', async () => {
    const [one, two] = await startTwo();
    let computed = 0;
    const slow = async () => {
      computed++;
      await sleep(5_600);
      return 'v';
    };
    const first = one.wrap(key, SHORT, slow);
    await sleep(1_000);
    const second = two.wrap(key, SHORT, slow);
    assert.deepEqual([(await first).source, (await second).source], ['miss', 'L2']);
    assert.equal(computed, 1);
    await sleep(2_200);
    for (const cache of [one, two])
      assert.equal((await cache.wrap(key, SHORT, slow)).source, 'L1', 'nobody took the quiet for a cut');
  });

  it('compute a value anew before it is over, one of them for all', async () => {
    const [one, two] = await startTwo();
    const ttl = { l1Seconds: 60, l2Seconds: 60, refreshAfterSeconds: 2 };
    let computed = 0;
    const ask = async (cache: CacheService) => (await cache.wrap(key, ttl, async () => ++computed)).value;
    assert.deepEqual([await ask(one), await ask(two)], [1, 1]);
    await sleep(2_050);
    assert.deepEqual(await Promise.all([ask(one), ask(two)]), [1, 1], 'still');
    await until('both have the next', async () => (await one.get(key)) === 2 && (await two.get(key)) === 2);
    assert.equal(computed, 2);
  });

  it('try one after the other when the source fails, and keep no failure', async () => {
    const [one, two] = await startTwo();
    let tried = 0;
    const failing = async () => {
      tried++;
      await sleep(30);
      throw new Error('away');
    };
    const both = await Promise.allSettled([one.wrap(key, SHORT, failing), two.wrap(key, SHORT, failing)]);
    assert.deepEqual(
      both.map(({ status }) => status),
      ['rejected', 'rejected'],
    );
    assert.equal(tried, 2);
    assert.equal((await wrap(two, 'v')).source, 'miss');
  });

  it('never have a value that was begun before an invalidation by another', async () => {
    const [one, two] = await startTwo();
    for (const invalidate of [
      () => two.del(key),
      () => two.delPattern(keysUnder('metrics', scope)),
      () => two.delPattern('*cpu*'),
      () => two.clear(),
    ]) {
      const begun = one.wrap(key, SHORT, async () => {
        await invalidate();
        return 'old';
      });
      assert.equal((await begun).value, 'old');
      assert.equal(await one.get(key), undefined);
      assert.equal(await two.get(key), undefined);
    }
    assert.equal(one.getStats().outdated, 4);
  });

  it('that were cut off from the others have nothing in memory when they are back', async () => {
    const [one, two, first] = await startTwo();
    await wrap(one, 'old');
    assert.equal((await wrap(two, 'x')).source, 'L2');
    await first.redis!.request((client) => client.call('CLIENT', 'KILL', 'TYPE', 'pubsub'));
    await until('cut off', () => !two.getStats().isListening);
    await one.del(key);
    await until('back', () => two.getStats().isListening);
    assert.equal(two.getStats().l1.entries, 0);
    assert.equal((await wrap(two, 'new')).value, 'new');
  });

  it('notice within seconds that they are cut off, though the connection looks whole', async () => {
    const [one] = await startTwo();
    server.freeze();
    const startedAt = performance.now();
    await until('cut off', () => !one.getStats().isListening);
    assert.ok(performance.now() - startedAt < 3_000);
    server.thaw();
    await until('back', () => one.getStats().isListening);
  });

  it('go on with memory while Redis is killed, and share again by themselves', async () => {
    const [one, two] = await startTwo();
    await wrap(one, 'v');
    await until('in memory too', () => one.getStats().l1.entries === 1);
    await server.kill();
    const startedAt = performance.now();
    assert.equal((await wrap(one, 'x')).source, 'L1');
    const other = keys.trace(scope, 'x');
    assert.equal((await two.wrap(other, SHORT, () => 'alone')).source, 'miss');
    assert.equal((await two.wrap(other, SHORT, () => 'x')).source, 'L1');
    await two.set(key, 'set', SHORT);
    await two.delPattern('nothing:*');
    assert.equal(await two.get(key), 'set');
    assert.ok(performance.now() - startedAt < 500);
    await until('noticed', () => !two.getStats().l2!.isUp);
    await server.start();
    await until('back', () =>
      [one, two].every((cache) => cache.getStats().l2!.isUp && cache.getStats().isListening),
    );
    await until('told', () => two.getStats().l2!.owedInvalidations === 0);
    assert.equal((await wrap(one, 'shared')).source, 'miss');
    await until('shared', async () => (await wrap(two, 'x')).value === 'shared');
  });

  it('wait for a frozen Redis 200 ms at most, once, and use it again when it answers', async () => {
    const [one] = await startTwo();
    server.freeze();
    const timed = async (id: string) => {
      const startedAt = performance.now();
      await one.wrap(keys.trace(scope, id), SHORT, () => id);
      return performance.now() - startedAt;
    };
    const waited = await timed('first');
    assert.ok(waited > 150 && waited < 450, `${waited} ms`);
    for (let n = 0; n < 20; n++) assert.ok((await timed(`next ${n}`)) < 100);
    server.thaw();
    await until('back', () => one.getStats().l2!.isUp);
    await until('stored', async () => {
      await one.del(key);
      await wrap(one, 'v');
      return (await run('EXISTS', `tf:cache:v:${key}`)) === 1;
    });
  });

  it('have nothing from before when Redis was flushed, and tell it later what it could not be told', async () => {
    const [one, two, , second] = await startTwo();
    await wrap(one, 'old');
    await run('FLUSHALL');
    assert.equal((await wrap(two, 'new')).source, 'miss');
    // Only its commands are cut: it hears the others, and cannot tell them.
    await one.clear();
    await wrap(one, 'old');
    assert.equal((await wrap(two, 'x')).value, 'old');
    const { redis } = second;
    await redis!
      .request((client) => client.call('CLIENT', 'KILL', 'TYPE', 'normal', 'SKIPME', 'no'))
      .catch(() => undefined);
    await until('away', () => !redis!.isUp);
    await two.del(key);
    assert.equal(two.getStats().l2!.owedInvalidations, 1);
    await until('back', () => redis!.isUp);
    assert.notEqual((await wrap(two, 'new')).value, 'old', 'told before anything is asked');
    await until('told', () => two.getStats().l2!.owedInvalidations === 0);
    await until('heard', async () => (await wrap(one, 'x')).value !== 'old');
  });

  for (const seed of [1, 2, 3])
    it(`give nothing old through errors, delays and lost answers of Redis (seed ${seed})`, async () => {
      const random = randomFrom(seed);
      const chaoses: ReturnType<typeof chaosOver>[] = [];
      const chaotic = (tier: Parameters<typeof chaosOver>[0]) => {
        const chaos = chaosOver(tier, random);
        chaoses.push(chaos);
        return chaos.tier;
      };
      const caches = [(await start(chaotic)).service, (await start(chaotic)).service];
      for (const chaos of chaoses) Object.assign(chaos, { errors: 0.05, lostAnswers: 0.05, maxDelayMs: 4 });
      const names = ['a', 'b', 'c'].map((id) => keys.trace(scope, id));
      const truth = names.map(() => 0);
      /** What is known to be invalidated where it was written. */
      const written = names.map(() => 0);
      const read = (cache: CacheService, at: number) =>
        cache.wrap(names[at], SHORT, async () => {
          const seen = truth[at];
          await sleep(random() * 4);
          if (random() < 0.05) throw new Error('source');
          return seen;
        });
      // One writes and reads: what it reads is never older than its last write. The other reads.
      const busy = async (cache: CacheService, isWriter: boolean) => {
        for (const endAt = Date.now() + 1_500; Date.now() < endAt; await sleep(random() * 3)) {
          const at = Math.floor(random() * names.length);
          if (isWriter && random() < 0.3) {
            const version = ++truth[at];
            await (random() < 0.5 ? cache.del(names[at]) : cache.delPattern(keysUnder('trace', scope)));
            written[at] = Math.max(written[at], version);
          }
          const least = isWriter ? written[at] : 0;
          const { value } = await read(cache, at).catch(() => ({ value: least }));
          assert.ok(value >= least, `${value} after ${least} was written`);
        }
      };
      await Promise.all([
        busy(caches[0], true),
        busy(caches[0], true),
        busy(caches[1], false),
        busy(caches[1], false),
      ]);
      for (const chaos of chaoses) {
        assert.ok(chaos.counts.errors > 0 && chaos.counts.lostAnswers > 0 && chaos.counts.delays > 0);
        Object.assign(chaos, { errors: 0, lostAnswers: 0, maxDelayMs: 0 });
      }
      await until('told', () => caches.every((cache) => cache.getStats().l2!.owedInvalidations === 0));
      await sleep(100);
      for (const cache of caches)
        for (const [at, name] of names.entries()) {
          const { value } = await cache.wrap(name, SHORT, () => truth[at]);
          assert.equal(value, truth[at]);
        }
    });
});
