import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { bucketStoreContract } from './bucket-store.suite.js';
import { MemoryBuckets } from './memory-buckets.js';

const store = new MemoryBuckets();
bucketStoreContract('memory', () => store);

describe('Buckets in memory', () => {
  const limit = { limit: 2, ttlMs: 1000 };

  it('are forgotten when they are full again', () => {
    let nowMs = 0;
    const buckets = new MemoryBuckets(1_000_000, () => nowMs);
    for (let n = 0; n < 1000; n++) buckets.take(`caller ${n}`, limit, 1);
    assert.equal(buckets.size, 1000);
    nowMs = 500;
    for (let n = 0; n < 501; n++) buckets.take('one more', limit, 1);
    assert.equal(buckets.size, 1);
  });

  it('are not forgotten before: who goes on asking stays refused', () => {
    let nowMs = 0;
    const buckets = new MemoryBuckets(1_000_000, () => nowMs);
    let allowed = 0;
    for (; nowMs < 10_000; nowMs++) {
      if (buckets.take('busy', limit, 1).allowed) allowed++;
      buckets.take(`other ${nowMs}`, limit, 1);
    }
    assert.ok(allowed <= 2 + 20, `${allowed} let through`);
    assert.ok(buckets.size < 2000, `${buckets.size} kept`);
  });

  it('stay bounded however many callers there are, and let new ones in', () => {
    const buckets = new MemoryBuckets(100, () => 0);
    for (let n = 0; n < 10_000; n++) {
      assert.ok(buckets.take(`caller ${n}`, limit, 1).allowed);
      assert.ok(buckets.size <= 101, `${buckets.size} buckets`);
    }
  });
});
