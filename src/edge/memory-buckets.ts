import type { Limit } from './principal.js';
import { type BucketStore, type Taken, takeTokens } from './token-bucket.js';

/** About 25 MB when all are used. */
const MAX_BUCKETS = 100_000;

/**
 * Buckets of this process. Every attempt also looks at two others and forgets those that are full again, so memory is
 * given back without a timer. At the largest number the next one looked at goes in any case: its owner gets a full bucket, which
 * is better than to refuse whoever is new.
 */
export class MemoryBuckets implements BucketStore {
  private readonly buckets = new Map<string, Taken>();
  /** Goes round all buckets; an iterator of a Map stays valid while entries come and go. */
  private hand = this.buckets.entries();

  constructor(
    private readonly maxBuckets = MAX_BUCKETS,
    private readonly nowMs: () => number = Date.now,
  ) {}

  get size(): number {
    return this.buckets.size;
  }

  take(key: string, limit: Limit, cost: number): Taken {
    const nowMs = this.nowMs();
    const taken = takeTokens(this.buckets.get(key)?.bucket, limit, cost, nowMs);
    this.buckets.set(key, taken);
    this.lookAtNext(nowMs, key);
    this.lookAtNext(nowMs, key);
    return taken;
  }

  private lookAtNext(nowMs: number, justUsed: string): void {
    let next = this.hand.next();
    if (next.done) {
      this.hand = this.buckets.entries();
      next = this.hand.next();
    }
    const [key, taken] = next.value!;
    if (key === justUsed) return;
    if (taken.resetAtMs <= nowMs || this.buckets.size > this.maxBuckets) this.buckets.delete(key);
  }
}
