import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { type Bucket, takeTokens } from './token-bucket.js';

const limits = fc.record({
  limit: fc.integer({ min: 1, max: 1_000_000 }),
  ttlMs: fc.integer({ min: 1, max: 86_400_000 }),
});
const startMs = 1_700_000_000_000;
const steps = (forwardMs: fc.Arbitrary<number>) =>
  fc.array(fc.record({ forwardMs, cost: fc.integer({ min: 1, max: 5 }) }), { minLength: 1, maxLength: 200 });
const forward = fc.oneof(fc.constant(0), fc.double({ min: 0, max: 100_000, noNaN: true }));
const anyway = fc.oneof(forward, fc.double({ min: -10_000_000, max: 0, noNaN: true }));
/** Rounding: Unix milliseconds have 13 digits before the point, so a time is off by up to 0.0003 ms. */
const slack = (steps: number, { limit, ttlMs }: { limit: number; ttlMs: number }) =>
  1e-6 * (steps + 1) + (steps * 0.0003 * limit) / ttlMs;

describe('A token bucket', () => {
  it('lets through no more than limit + elapsed / ttl * limit, also when the clock is set back', () => {
    fc.assert(
      fc.property(limits, steps(anyway), (limit, attempts) => {
        let bucket: Bucket | undefined;
        let [nowMs, elapsedMs, through] = [startMs, 0, 0];
        for (const { forwardMs, cost } of attempts) {
          const before = nowMs;
          nowMs += forwardMs;
          elapsedMs += Math.max(0, nowMs - before);
          const taken = takeTokens(bucket, limit, cost, nowMs);
          bucket = taken.bucket;
          if (taken.allowed) through += cost;
          const most = limit.limit + (elapsedMs / limit.ttlMs) * limit.limit;
          assert.ok(through <= most + slack(attempts.length, limit), `${through} of ${most}`);
        }
      }),
      { numRuns: 500 },
    );
  });

  it('refuses only when less is left than was asked for, and then takes nothing', () => {
    fc.assert(
      fc.property(limits, steps(forward), (limit, attempts) => {
        let bucket: Bucket = { tokens: limit.limit, atMs: startMs };
        let nowMs = startMs;
        for (const { forwardMs, cost } of attempts) {
          nowMs += forwardMs;
          const had = Math.min(
            limit.limit,
            bucket.tokens + ((nowMs - bucket.atMs) / limit.ttlMs) * limit.limit,
          );
          const taken = takeTokens(bucket, limit, cost, nowMs);
          assert.equal(taken.allowed, had + 1e-6 >= cost);
          assert.equal(taken.bucket.tokens, taken.allowed ? had - cost : had);
          bucket = taken.bucket;
        }
      }),
    );
  });

  it('has a token again after retryAfterMs and not before, and is full at resetAtMs', () => {
    fc.assert(
      fc.property(limits, fc.integer({ min: 0, max: 10_000 }), (limit, usedMs) => {
        // A point in time is only so exact: a quarter of a microsecond.
        fc.pre(limit.ttlMs / limit.limit >= 0.01);
        const empty = { tokens: 0, atMs: startMs };
        const refused = takeTokens(
          empty,
          limit,
          1,
          startMs + (usedMs / 10_000) * 0.9 * (limit.ttlMs / limit.limit),
        );
        assert.equal(refused.allowed, false);
        const { bucket, retryAfterMs, resetAtMs } = refused;
        assert.ok(retryAfterMs > 0);
        assert.ok(takeTokens(bucket, limit, 1, bucket.atMs + retryAfterMs + 0.001).allowed);
        if (retryAfterMs > 0.01)
          assert.ok(!takeTokens(bucket, limit, 1, bucket.atMs + retryAfterMs * 0.9).allowed);
        const full = takeTokens(bucket, limit, 1, resetAtMs + 0.001);
        assert.ok(full.bucket.tokens >= limit.limit - 1 - 1e-6);
      }),
    );
  });

  it('goes on at once when the clock is set back, from what it had', () => {
    const limit = { limit: 10, ttlMs: 1000 };
    const { bucket } = takeTokens({ tokens: 5, atMs: startMs }, limit, 1, startMs - 3_600_000);
    assert.deepEqual(bucket, { tokens: 4, atMs: startMs - 3_600_000 });
    assert.equal(takeTokens(bucket, limit, 1, startMs - 3_600_000 + 100).bucket.tokens, 4);
  });
});
