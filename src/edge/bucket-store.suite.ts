import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import type { BucketStore } from './token-bucket.js';

/** Refills a token in a time that no test takes. */
const STILL = { ttlMs: 86_400_000 };
let keys = 0;
const newKey = () => `suite:${process.pid}:${++keys}`;

/** What every store of token buckets promises. */
export function bucketStoreContract(name: string, store: () => BucketStore): void {
  describe(`Token buckets (${name})`, () => {
    it('are full at first, and give no more than they hold', async () => {
      const [key, limit] = [newKey(), { limit: 3, ...STILL }];
      for (const remaining of [2, 1, 0]) {
        const taken = await store().take(key, limit, 1);
        assert.deepEqual([taken.allowed, taken.remaining, taken.retryAfterMs], [true, remaining, 0]);
      }
      const refused = await store().take(key, limit, 1);
      assert.deepEqual([refused.allowed, refused.remaining], [false, 0]);
      const perToken = STILL.ttlMs / 3;
      assert.ok(refused.retryAfterMs > perToken - 5000 && refused.retryAfterMs <= perToken);
      assert.ok(Math.abs(refused.resetAtMs - (Date.now() + STILL.ttlMs)) < 5000);
    });

    it('let through exactly the limit of a thousand at once', async () => {
      const [key, limit] = [newKey(), { limit: 300, ...STILL }];
      const all = await Promise.all(Array.from({ length: 1000 }, () => store().take(key, limit, 1)));
      assert.equal(all.filter(({ allowed }) => allowed).length, 300);
    });

    it('refill continuously, and have a token when they said so', async () => {
      const [key, limit] = [newKey(), { limit: 5, ttlMs: 500 }];
      await store().take(key, limit, 5);
      const { allowed, retryAfterMs } = await store().take(key, limit, 1);
      assert.equal(allowed, false);
      await sleep(Math.ceil(retryAfterMs) + 1);
      assert.equal((await store().take(key, limit, 1)).allowed, true);
      await sleep(600);
      assert.equal((await store().take(key, limit, 1)).remaining, 4, 'full after its time, and not fuller');
    });

    it('take all that is asked for, or nothing', async () => {
      const [key, limit] = [newKey(), { limit: 10, ...STILL }];
      assert.equal((await store().take(key, limit, 7)).allowed, true);
      assert.equal((await store().take(key, limit, 4)).allowed, false);
      assert.equal((await store().take(key, limit, 3)).allowed, true);
    });

    it('are apart, one for each key', async () => {
      const limit = { limit: 1, ...STILL };
      const [one, other] = [newKey(), newKey()];
      assert.equal((await store().take(one, limit, 1)).allowed, true);
      assert.equal((await store().take(other, limit, 1)).allowed, true);
      assert.equal((await store().take(one, limit, 1)).allowed, false);
    });

    it('follow a limit that is changed: never more than the new one, and refilled by it', async () => {
      const key = newKey();
      assert.equal((await store().take(key, { limit: 100, ...STILL }, 1)).remaining, 99);
      assert.equal((await store().take(key, { limit: 10, ...STILL }, 1)).remaining, 9);
      assert.equal((await store().take(key, { limit: 100, ...STILL }, 1)).remaining, 8);
    });
  });
}
