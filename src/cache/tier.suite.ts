import assert from 'node:assert/strict';
import { beforeEach, describe, it } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { type CacheKey, keys, keysUnder } from './cache-key.js';
import type { Invalidation } from './invalidation.js';

/** A tier as the suite sees it. */
export interface TierUnderTest {
  put(key: CacheKey, value: string, freshMs: number, graceMs: number): Promise<unknown> | unknown;
  /** Undefined when there is none; `isFresh` false when it is just over. */
  get(key: CacheKey): Promise<{ value: string; isFresh: boolean } | undefined>;
  invalidate(invalidation: Invalidation): Promise<unknown> | unknown;
}

const scopeOf = (tenantId: string) => ({ organizationId: 'o', workspaceId: 'w', tenantId });
const [t1, t2] = [scopeOf('t1'), scopeOf('t2')];
const LONG = [60_000, 0] as const;

/** What every tier of the cache promises. */
export function tierContract(name: string, tier: () => TierUnderTest): void {
  const all = [
    keys.metrics(t1, 'cpu', 'a'),
    keys.metrics(t1, 'cpu', 'b'),
    keys.metrics(t1, 'cpu2', 'a'),
    keys.metrics(t2, 'cpu', 'a'),
    keys.logs(t1, 'cpu'),
    keys.services(t1),
    keys.services(scopeOf('t11')),
  ];
  const fill = () => Promise.all(all.map((key) => tier().put(key, key, ...LONG)));
  const left = async () => {
    const found = await Promise.all(all.map((key) => tier().get(key)));
    return all.filter((_, index) => found[index] !== undefined);
  };

  describe(`A cache tier (${name})`, () => {
    beforeEach(() => tier().invalidate({ kind: 'all' }));

    it('gives what was put last, for each key its own', async () => {
      await fill();
      await tier().put(all[0], 'other', ...LONG);
      assert.deepEqual(await tier().get(all[0]), { value: 'other', isFresh: true });
      for (const key of all.slice(1)) assert.deepEqual(await tier().get(key), { value: key, isFresh: true });
      assert.equal(await tier().get(keys.trace(t1, 'x')), undefined);
    });

    it('gives a value while it is fresh, then as just over, then not at all', async () => {
      await tier().put(all[0], 'v', 150, 300);
      assert.deepEqual(await tier().get(all[0]), { value: 'v', isFresh: true });
      await sleep(200);
      assert.deepEqual(await tier().get(all[0]), { value: 'v', isFresh: false });
      await sleep(300);
      assert.equal(await tier().get(all[0]), undefined);
    });

    it('drops a key alone', async () => {
      await fill();
      await tier().invalidate({ kind: 'key', key: all[0] });
      assert.deepEqual(await left(), all.slice(1));
      await tier().put(all[0], 'again', ...LONG);
      assert.equal((await tier().get(all[0]))?.value, 'again');
    });

    for (const [what, pattern, dropped] of [
      ['a prefix', keysUnder('metrics'), [0, 1, 2, 3]],
      ['a tenant under a prefix', keysUnder('metrics', t1), [0, 1, 2]],
      ['one part more', keysUnder('metrics', t1, 'cpu'), [0, 1]],
      ['the key that is the whole group', keysUnder('services', t1), [5]],
      ['any pattern', 'metrics:*:cpu:*', [0, 1, 3]],
      ['an ending', '*:a', [0, 2, 3]],
      ['one character', 'metrics:t?:cpu:a', [0, 3]],
      ['nothing', 'metrics:t3:*', []],
      ['everything', '*', [0, 1, 2, 3, 4, 5, 6]],
    ] as const)
      it(`drops by pattern: ${what}, and keeps the rest`, async () => {
        await fill();
        await tier().invalidate({ kind: 'pattern', pattern });
        const gone = new Set<number>(dropped);
        assert.deepEqual(
          await left(),
          all.filter((_, index) => !gone.has(index)),
        );
        await fill();
        assert.deepEqual(await left(), all, 'what is put afterwards is there');
      });

    it('drops everything', async () => {
      await fill();
      await tier().invalidate({ kind: 'all' });
      assert.deepEqual(await left(), []);
      await fill();
      assert.deepEqual(await left(), all);
    });

    it('keeps long values and any character', async () => {
      const value = `|\u0000\n"é😀${'x'.repeat(300_000)}`;
      await tier().put(all[0], value, ...LONG);
      assert.equal((await tier().get(all[0]))?.value, value);
    });
  });
}
