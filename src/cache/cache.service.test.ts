import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import pino from 'pino';
import { CacheService, CUT_OFF_MS } from './cache.service.js';
import { type CacheKey, keys, keysUnder } from './cache-key.js';
import { CacheProfile } from './cache-profile.js';
import type { SharedTier } from './shared-tier.js';

const log = pino({ level: 'silent' });
const scope = { organizationId: 'o', workspaceId: 'w', tenantId: 't1' };
const key = keys.metrics(scope, 'cpu', 'a');
const { SHORT, NONE } = CacheProfile;

/** Redis is away, since always. */
const away: SharedTier = {
  isUp: false,
  lookUp: () => Promise.reject(new Error('asked though it is away')),
  lease: () => Promise.reject(new Error('asked though it is away')),
  store: () => Promise.reject(new Error('asked though it is away')),
  put: () => Promise.reject(new Error('asked though it is away')),
  renew: () => Promise.reject(new Error('asked though it is away')),
  release: () => Promise.reject(new Error('asked though it is away')),
  invalidate: () => Promise.reject(new Error('asked though it is away')),
};

function newCache(options: Partial<ConstructorParameters<typeof CacheService>[0]> = {}, shared?: SharedTier) {
  const clock = { nowMs: 1000 };
  const limits = { maxEntries: 100, maxBytes: 1e6, nowMs: () => clock.nowMs, staleAfterMs: 30 };
  return { clock, cache: new CacheService({ ...limits, ...options }, shared, log) };
}

/** A source that counts, and is answered by hand. */
function newSource() {
  const calls: { answer: (value: unknown) => void; fail: (error: Error) => void; signal: AbortSignal }[] = [];
  const source = (signal: AbortSignal) =>
    new Promise<unknown>((resolve, reject) => calls.push({ answer: resolve, fail: reject, signal }));
  return { calls, source };
}
const turns = () => sleep(1);

for (const [where, shared] of [
  ['alone', undefined],
  ['while Redis is away', away],
] as const)
  describe(`The cache ${where}`, () => {
    it('asks the source once, then memory, until the value is over', async () => {
      const { cache, clock } = newCache({}, shared);
      let n = 0;
      const wrap = () => cache.wrap(key, SHORT, async () => ({ n: ++n }));
      assert.deepEqual(await wrap(), { value: { n: 1 }, source: 'miss' });
      assert.deepEqual(await wrap(), { value: { n: 1 }, source: 'L1' });
      clock.nowMs += shared ? CUT_OFF_MS : 60_000;
      assert.deepEqual(await wrap(), { value: { n: 2 }, source: 'miss' });
      const stats = cache.getStats();
      assert.deepEqual([stats.l1Hits, stats.misses, stats.computed.count], [1, 2, 2]);
      assert.deepEqual(stats.prefixes, { metrics: { l1Hits: 1, l2Hits: 0, misses: 2, stale: 0 } });
    });

    it('asks the source once for a thousand who come at the same time', async () => {
      const { cache } = newCache({}, shared);
      const { calls, source } = newSource();
      const all = Array.from({ length: 1000 }, () => cache.wrap(key, SHORT, source));
      await turns();
      assert.equal(calls.length, 1);
      calls[0].answer('v');
      const answers = await Promise.all(all);
      assert.ok(answers.every(({ value, source: from }) => value === 'v' && from === 'miss'));
      assert.equal(cache.getStats().misses, 1000);
    });

    it('sets, gets and drops by key, by pattern and altogether', async () => {
      const { cache } = newCache({}, shared);
      const others = [keys.logs(scope, 'x'), keys.metrics({ ...scope, tenantId: 't2' }, 'cpu', 'a')];
      const values = () => Promise.all([key, ...others].map((name) => cache.get(name)));
      const fill = () => Promise.all([key, ...others].map((name, index) => cache.set(name, index, SHORT)));
      await fill();
      assert.deepEqual(await values(), [0, 1, 2]);
      await cache.del(key);
      assert.deepEqual(await values(), [undefined, 1, 2]);
      await fill();
      await cache.delPattern(keysUnder('metrics', scope));
      assert.deepEqual(await values(), [undefined, 1, 2]);
      await cache.delPattern('*:cpu:*');
      assert.deepEqual(await values(), [undefined, 1, undefined]);
      await fill();
      await cache.clear();
      assert.deepEqual(await values(), [undefined, undefined, undefined]);
    });

    it('keeps nothing of a source that fails, and tells all who wait', async () => {
      const { cache } = newCache({}, shared);
      const { calls, source } = newSource();
      const all = [1, 2, 3].map(() => cache.wrap(key, SHORT, source));
      await turns();
      calls[0].fail(new Error('no table'));
      for (const answer of all) await assert.rejects(answer, /no table/);
      await assert.rejects(
        cache.wrap(key, SHORT, () => {
          throw new Error('at once');
        }),
        /at once/,
      );
      assert.equal((await cache.wrap(key, SHORT, () => 'v')).source, 'miss');
      assert.equal(cache.getStats().computed.failed, 2);
    });

    for (const [what, invalidate] of [
      ['its key', (cache: CacheService) => cache.del(key)],
      ['its prefix', (cache: CacheService) => cache.delPattern('metrics:*')],
      ['everything', (cache: CacheService) => cache.clear()],
      ['another value', (cache: CacheService) => cache.set(key, 'set', SHORT)],
      ['what another instance says', async (cache: CacheService) => cache.heard({ kind: 'key', key })],
    ] as const)
      it(`never keeps what was begun before it was invalidated by ${what}`, async () => {
        const { cache } = newCache({}, shared);
        const { calls, source } = newSource();
        const before = cache.wrap(key, SHORT, source);
        await turns();
        await invalidate(cache);
        if (what !== 'another value') {
          const after = cache.wrap(key, SHORT, source);
          await turns();
          assert.equal(calls.length, 2, 'who comes afterwards does not wait for the old value');
          calls[1].answer('new');
          assert.equal((await after).value, 'new');
        }
        calls[0].answer('old');
        assert.equal((await before).value, 'old');
        const expected = what === 'another value' ? 'set' : 'new';
        assert.deepEqual(await cache.wrap(key, SHORT, source), { value: expected, source: 'L1' });
        assert.equal(cache.getStats().outdated, 1);
      });

    it('computes each time with NONE, and keeps nothing', async () => {
      const { cache } = newCache({}, shared);
      let n = 0;
      for (const value of [1, 2])
        assert.deepEqual(await cache.wrap(key, NONE, () => ++n), { value, source: 'miss' });
      await cache.set(key, 'v', NONE);
      assert.equal(await cache.get(key), undefined);
      assert.equal(cache.getStats().l1.entries, 0);
    });

    it('serves and counts what it cannot keep', async () => {
      const { cache } = newCache({ maxValueLength: 10 }, shared);
      for (const value of ['x'.repeat(11), new Date(), Number.NaN]) {
        assert.equal((await cache.wrap(key, SHORT, () => value)).value, value);
        assert.equal((await cache.wrap(key, SHORT, () => value)).source, 'miss');
        await cache.set(key, value, SHORT);
        assert.equal(await cache.get(key), undefined);
      }
      assert.deepEqual(cache.getStats().uncacheable, { too_large: 3, not_serialisable: 6 });
    });

    it('keeps nothing where there is nothing, which is no problem', async () => {
      const { cache } = newCache({}, shared);
      const ask = () => cache.wrap(key, SHORT, () => undefined);
      assert.deepEqual([await ask(), await ask()], Array(2).fill({ value: undefined, source: 'miss' }));
      const { l1, uncacheable } = cache.getStats();
      assert.deepEqual([l1.entries, uncacheable], [0, { too_large: 0, not_serialisable: 0 }]);
    });
  });

describe('A value that is computed anew before it is over', () => {
  const ttl = { l1Seconds: 10, l2Seconds: 10, refreshAfterSeconds: 7 };

  it('is still given meanwhile, and computed once by all who ask', async () => {
    const { cache, clock } = newCache();
    await cache.wrap(key, ttl, () => 'old');
    const { source, calls } = newSource();
    const ask = () => cache.wrap(key, ttl, source);
    clock.nowMs += 6_999;
    assert.equal((await ask()).value, 'old');
    assert.equal(calls.length, 0, 'not before its time');
    clock.nowMs += 1;
    for (let n = 0; n < 3; n++) assert.deepEqual(await ask(), { value: 'old', source: 'L1' });
    assert.equal(calls.length, 1);
    calls[0].answer('new');
    await turns();
    assert.deepEqual(await ask(), { value: 'new', source: 'L1' });
    clock.nowMs += 6_999;
    assert.equal((await ask()).value, 'new', 'for as long again');
    assert.equal(calls.length, 1);
    assert.deepEqual([cache.getStats().l1Hits, cache.getStats().misses], [6, 1]);
  });

  it('is waited for when the old one is over before it is there', async () => {
    const { cache, clock } = newCache();
    await cache.wrap(key, ttl, () => 'old');
    clock.nowMs += 9_000;
    const { source, calls } = newSource();
    await cache.wrap(key, ttl, source);
    clock.nowMs += 1_000;
    const waiting = cache.wrap(key, ttl, source);
    calls[0].answer('new');
    assert.equal((await waiting).value, 'new');
    assert.equal(calls.length, 1);
  });

  it('is tried again when the source fails, and goes when it is invalidated', async () => {
    const { cache, clock } = newCache();
    await cache.wrap(key, ttl, () => 'old');
    clock.nowMs += 8_000;
    const failing = () => {
      throw new Error('away');
    };
    assert.equal((await cache.wrap(key, ttl, failing)).value, 'old');
    await turns();
    const { source, calls } = newSource();
    assert.equal((await cache.wrap(key, ttl, source)).value, 'old');
    await cache.del(key);
    calls[0].answer('begun before');
    await turns();
    assert.deepEqual(await cache.wrap(key, ttl, () => 'new'), { value: 'new', source: 'miss' });
  });
});

describe('The cache, while a value is just over', () => {
  async function withOld() {
    const { cache, clock } = newCache();
    await cache.wrap(key, SHORT, () => 'old');
    clock.nowMs += 61_000;
    return { cache, clock };
  }

  it('gives it when the source fails', async () => {
    const { cache } = await withOld();
    const failing = () => Promise.reject(new Error('away'));
    assert.deepEqual(await cache.wrap(key, SHORT, failing), { value: 'old', source: 'stale' });
    assert.deepEqual(await cache.wrap(key, SHORT, () => 'new'), { value: 'new', source: 'miss' });
    assert.equal(cache.getStats().stale, 1);
  });

  it('gives it when the source is slow, and keeps the new one when it comes', async () => {
    const { cache } = await withOld();
    const { calls, source } = newSource();
    assert.deepEqual(await cache.wrap(key, SHORT, source), { value: 'old', source: 'stale' });
    assert.deepEqual(await cache.wrap(key, SHORT, source), { value: 'old', source: 'stale' });
    assert.equal(calls.length, 1);
    calls[0].answer('new');
    await turns();
    assert.deepEqual(await cache.wrap(key, SHORT, source), { value: 'new', source: 'L1' });
  });

  it('does not when it was invalidated, or is over for longer than it lived', async () => {
    const failing = () => Promise.reject(new Error('away'));
    const invalidated = await withOld();
    await invalidated.cache.del(key);
    await assert.rejects(invalidated.cache.wrap(key, SHORT, failing), /away/);
    const { cache, clock } = await withOld();
    const { calls, source } = newSource();
    const waiting = cache.wrap(key, SHORT, source);
    await turns();
    await cache.del(key);
    calls[0].fail(new Error('away'));
    await assert.rejects(waiting, /away/, 'also when that happened while it was waited for');
    clock.nowMs += 60_000;
    await assert.rejects(cache.wrap(key, SHORT, failing), /away/);
  });
});

describe('Callers that go away', () => {
  it('do not disturb those who stay', async () => {
    const { cache } = newCache();
    const { calls, source } = newSource();
    const [leaver, stayer] = [new AbortController(), new AbortController()];
    const left = cache.wrap(key, SHORT, source, leaver.signal);
    const stays = cache.wrap(key, SHORT, source, stayer.signal);
    await turns();
    leaver.abort(new Error('gone'));
    await assert.rejects(left, /gone/);
    assert.equal(calls[0].signal.aborted, false);
    calls[0].answer('v');
    assert.equal((await stays).value, 'v');
  });

  it('end the work when they were the last, and the next begins anew', async () => {
    const { cache } = newCache();
    const { calls, source } = newSource();
    const controllers = [new AbortController(), new AbortController()];
    const all = controllers.map(({ signal }) => cache.wrap(key, SHORT, source, signal));
    await turns();
    for (const controller of controllers) controller.abort(new Error('gone'));
    for (const answer of all) await assert.rejects(answer, /gone/);
    assert.equal(calls[0].signal.aborted, true);
    const next = cache.wrap(key, SHORT, source);
    await turns();
    calls[0].fail(new Error('cancelled'));
    calls[1].answer('v');
    assert.equal((await next).value, 'v');
    assert.equal((await cache.wrap(key, SHORT, source)).source, 'L1');
  });

  it('before they came are not served, and a caller without a signal never goes', async () => {
    const { cache } = newCache();
    const { calls, source } = newSource();
    await assert.rejects(cache.wrap(key, SHORT, source, AbortSignal.abort(new Error('gone'))), /gone/);
    const stays = cache.wrap(key, SHORT, source);
    const controller = new AbortController();
    const left = cache.wrap(key, SHORT, source, controller.signal);
    await turns();
    controller.abort(new Error('gone'));
    await assert.rejects(left, /gone/);
    calls.at(-1)!.answer('v');
    assert.equal((await stays).value, 'v');
  });
});

describe('The cache that does not hear of invalidations', () => {
  it('keeps values for 5 s at most, those from before too, and has none when it hears again', async () => {
    const { cache, clock } = newCache({}, away);
    cache.listening();
    const names = ['a', 'b', 'c'].map((id) => keys.trace(scope, id));
    await cache.set(names[0], 'heard', CacheProfile.STATIC);
    clock.nowMs += 1_000_000;
    assert.equal(await cache.get(names[0]), 'heard');
    cache.cutOff();
    clock.nowMs += CUT_OFF_MS - 1;
    assert.equal(await cache.get(names[0]), 'heard');
    await cache.set(names[1], 'deaf', CacheProfile.STATIC);
    clock.nowMs += 1;
    assert.deepEqual([await cache.get(names[0]), await cache.get(names[1])], [undefined, 'deaf']);
    cache.listening();
    assert.equal(await cache.get(names[1]), undefined);
    await cache.set(names[2], 'heard', CacheProfile.STATIC);
    clock.nowMs += 3_599_000;
    assert.equal(await cache.get(names[2]), 'heard');
  });

  it('does not keep what was begun before it heard again', async () => {
    const { cache } = newCache({}, away);
    const { calls, source } = newSource();
    const before = cache.wrap(key, SHORT, source);
    await turns();
    cache.listening();
    calls[0].answer('old');
    await before;
    assert.equal(await cache.get(key), undefined);
  });
});

describe('The memory of the cache', () => {
  it('is bounded in entries and bytes', async () => {
    const { cache } = newCache({ maxEntries: 10, maxBytes: 1e9 });
    for (let n = 0; n < 100; n++) await cache.set(`k:${n}` as CacheKey, n);
    assert.deepEqual([cache.getStats().l1.entries, cache.getStats().l1.evictions], [10, 90]);
    const small = newCache({ maxBytes: 50_000 }).cache;
    for (let n = 0; n < 100; n++) await small.set(`k:${n}` as CacheKey, 'x'.repeat(1000));
    const { l1 } = small.getStats();
    assert.ok(l1.bytes <= 50_000 && l1.entries > 10 && l1.entries < 50, `${l1.entries} entries`);
  });

  it('gives all callers the same frozen value', async () => {
    const { cache } = newCache();
    const { value } = await cache.wrap(key, SHORT, () => ({ rows: [1] }));
    assert.throws(() => value.rows.push(2), TypeError);
    assert.equal((await cache.wrap(key, SHORT, () => ({ rows: [3] }))).value, value);
  });
});
