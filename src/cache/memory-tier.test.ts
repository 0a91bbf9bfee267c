import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import type { CacheKey } from './cache-key.js';
import { type MemoryEntry, MemoryTier } from './memory-tier.js';
import { tierContract } from './tier.suite.js';

interface TextEntry extends MemoryEntry {
  value: string;
}
const suiteTier = new MemoryTier<TextEntry>(1000, 1_000_000);
tierContract('memory', () => ({
  put: (key, value, freshMs, graceMs) => {
    const nowMs = performance.now();
    const entry = {
      value,
      bytes: value.length,
      freshUntilMs: nowMs + freshMs,
      staleUntilMs: nowMs + freshMs + graceMs,
    };
    suiteTier.set(key, entry, nowMs);
  },
  get: async (key) => {
    const nowMs = performance.now();
    const entry = suiteTier.get(key, nowMs);
    return entry && { value: entry.value, isFresh: nowMs < entry.freshUntilMs };
  },
  invalidate: (invalidation) => suiteTier.invalidate(invalidation),
}));

const keyOf = (n: number) => `k:${n}` as CacheKey;
const entryOf = (bytes = 1, freshUntilMs = 1e9): MemoryEntry => ({
  bytes,
  freshUntilMs,
  staleUntilMs: freshUntilMs,
});
const has = (tier: MemoryTier, n: number) => tier.get(keyOf(n), 0) !== undefined;

/** SIEVE as in its paper: a queue with the newest at the head, and a hand that goes from tail to head; capacity in entries. */
class SieveModel {
  /** Oldest first. */
  queue: { key: number; isVisited: boolean }[] = [];
  hand = 0;
  constructor(readonly capacity: number) {}

  get(key: number): boolean {
    const found = this.queue.find((item) => item.key === key);
    if (found) found.isVisited = true;
    return found !== undefined;
  }

  set(key: number): void {
    if (this.queue.some((item) => item.key === key)) return;
    if (this.queue.length === this.capacity) this.evict();
    this.queue.push({ key, isVisited: false });
  }

  del(key: number): void {
    const at = this.queue.findIndex((item) => item.key === key);
    if (at === -1) return;
    this.queue.splice(at, 1);
    if (at < this.hand) this.hand--;
  }

  private evict(): void {
    for (;;) {
      if (this.hand >= this.queue.length) this.hand = 0;
      if (!this.queue[this.hand].isVisited) break;
      this.queue[this.hand++].isVisited = false;
    }
    this.queue.splice(this.hand, 1);
  }
}

describe('Eviction from memory', () => {
  it('is SIEVE: the same entries stay as in the model, whatever is asked, put and dropped', () => {
    const step = fc.tuple(
      fc.constantFrom('get', 'get', 'set', 'set', 'del'),
      fc.integer({ min: 0, max: 12 }),
    );
    fc.assert(
      fc.property(fc.array(step, { maxLength: 200 }), fc.integer({ min: 1, max: 8 }), (steps, capacity) => {
        const tier = new MemoryTier(capacity, 1000);
        const model = new SieveModel(capacity);
        for (const [what, n] of steps) {
          if (what === 'get') assert.equal(has(tier, n), model.get(n));
          else if (what === 'del') {
            tier.del(keyOf(n));
            model.del(n);
          } else {
            tier.set(keyOf(n), entryOf(), 0);
            model.set(n);
          }
          assert.equal(tier.size, model.queue.length);
        }
      }),
      { numRuns: 2000 },
    );
  });

  it('keeps what is used again through a scan of what is used once', () => {
    const tier = new MemoryTier(100, 1e6);
    for (let n = 0; n < 50; n++) tier.set(keyOf(n), entryOf(), 0);
    for (let n = 0; n < 50; n++) has(tier, n);
    for (let n = 1000; n < 1100; n++) tier.set(keyOf(n), entryOf(), 0);
    const kept = Array.from({ length: 50 }, (_, n) => n).filter((n) => has(tier, n));
    assert.equal(kept.length, 50);
    assert.equal(tier.evictions, 50);
  });

  it('takes what is over before what is used', () => {
    const tier = new MemoryTier(2, 1e6);
    tier.set(keyOf(1), entryOf(1, 100), 0);
    tier.set(keyOf(2), entryOf(1, 1e9), 0);
    tier.get(keyOf(1), 50);
    tier.get(keyOf(2), 50);
    tier.set(keyOf(3), entryOf(), 200);
    assert.deepEqual(
      [1, 2, 3].map((n) => tier.get(keyOf(n), 200) !== undefined),
      [false, true, true],
    );
  });

  it('never lets entries or bytes exceed their limits, and its sum of bytes is right', () => {
    const step = fc.tuple(fc.integer({ min: 0, max: 20 }), fc.integer({ min: 1, max: 40 }));
    fc.assert(
      fc.property(fc.array(step, { maxLength: 100 }), (steps) => {
        const tier = new MemoryTier(10, 100);
        const sizes = new Map<number, number>();
        for (const [n, bytes] of steps) {
          tier.set(keyOf(n), entryOf(bytes), 0);
          sizes.set(n, bytes);
          assert.ok(tier.size <= 10 && tier.bytes <= 100);
          assert.ok(has(tier, n), 'what was put last is there');
        }
        const sum = [...sizes].filter(([n]) => has(tier, n)).reduce((total, [, bytes]) => total + bytes, 0);
        assert.equal(tier.bytes, sum);
      }),
    );
  });

  it('does not throw out everything for one that is larger than the tier', () => {
    const tier = new MemoryTier(10, 100);
    for (let n = 0; n < 5; n++) tier.set(keyOf(n), entryOf(10), 0);
    tier.set(keyOf(0), entryOf(101), 0);
    assert.deepEqual([tier.size, tier.bytes, has(tier, 0)], [4, 40, false]);
  });

  it('sweeps what is over, and nothing else', () => {
    const tier = new MemoryTier(10, 100);
    tier.set(keyOf(1), { bytes: 1, freshUntilMs: 10, staleUntilMs: 20 }, 0);
    tier.set(keyOf(2), { bytes: 1, freshUntilMs: 10, staleUntilMs: 30 }, 0);
    tier.sweep(20);
    assert.deepEqual([tier.size, tier.bytes], [1, 1]);
  });

  it('limits how long everything lives, but makes nothing live longer', () => {
    const tier = new MemoryTier(10, 100);
    tier.set(keyOf(1), { bytes: 1, freshUntilMs: 10, staleUntilMs: 20 }, 0);
    tier.set(keyOf(2), { bytes: 1, freshUntilMs: 100, staleUntilMs: 200 }, 0);
    tier.limitTo(50);
    const times = (n: number) => {
      const entry = tier.get(keyOf(n), 0);
      return [entry?.freshUntilMs, entry?.staleUntilMs];
    };
    assert.deepEqual(
      [times(1), times(2)],
      [
        [10, 20],
        [50, 50],
      ],
    );
  });
});
