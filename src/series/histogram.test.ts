import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { explicitBuckets, exponentialBuckets, quantile } from './histogram.js';

const close = (actual: number | undefined, expected: number) =>
  assert.ok(
    Math.abs(actual! - expected) <= 1e-9 * Math.max(1, Math.abs(expected)),
    `${actual} is not ${expected}`,
  );

describe('A quantile of an explicit histogram', () => {
  const one = (counts: number[]) => explicitBuckets([{ bounds: [10, 20, 50], counts }]);

  it('is interpolated within its bucket', () => {
    close(quantile(0.5, one([0, 10, 0, 0])), 15);
    close(quantile(0.5, one([10, 10, 20, 0])), 20);
    close(quantile(0.75, one([10, 10, 20, 0])), 35);
  });

  it('in the first bucket counts from zero, and from the bound when that is not positive', () => {
    close(quantile(0.5, one([10, 0, 0, 0])), 5);
    close(quantile(0.5, explicitBuckets([{ bounds: [-5, 5], counts: [4, 0, 0] }])), -5);
  });

  it('above all bounds is the highest bound', () => {
    close(quantile(0.99, one([0, 0, 0, 7])), 50);
  });

  it('of nothing is unknown', () => {
    assert.equal(quantile(0.5, one([0, 0, 0, 0])), undefined);
    assert.equal(quantile(0.5, []), undefined);
    assert.equal(quantile(0.5, explicitBuckets([{ bounds: [], counts: [5] }])), undefined);
  });

  it('of sets with different bounds shares cut buckets out evenly', () => {
    const buckets = explicitBuckets([
      { bounds: [10, 20], counts: [0, 8, 0] },
      { bounds: [15, 30], counts: [3, 6, 2] },
    ]);
    assert.deepEqual(
      buckets.map(({ upper, count }) => [upper, count]),
      [
        [10, 2],
        [15, 1 + 4],
        [20, 4 + 2],
        [30, 4],
        [30, 2],
      ],
    );
  });

  it('keeps all counts when sets meet', () => {
    const set = fc
      .uniqueArray(fc.integer({ min: -50, max: 50 }), { minLength: 1, maxLength: 6 })
      .chain((bounds) =>
        fc.record({
          bounds: fc.constant(bounds.toSorted((a, b) => a - b)),
          counts: fc.array(fc.nat(100), { minLength: bounds.length + 1, maxLength: bounds.length + 1 }),
        }),
      );
    const sum = (counts: number[]) => counts.reduce((a, b) => a + b, 0);
    fc.assert(
      fc.property(fc.array(set, { minLength: 1, maxLength: 4 }), (sets) => {
        const merged = explicitBuckets(sets).map(({ count }) => count);
        close(sum(merged), sum(sets.flatMap(({ counts }) => counts)));
        assert.ok(merged.every((count) => count >= 0));
      }),
    );
  });
});

describe('A quantile of an exponential histogram', () => {
  const none = new Map<number, number>();
  const shape = { scale: 0, positive: none, negative: none, zeroCount: 0, zeroThreshold: 0 };

  it('is interpolated between powers of the base', () => {
    // Scale 0: base 2; index 2 is (4, 8].
    close(quantile(0.5, exponentialBuckets([{ ...shape, positive: new Map([[2, 10]]) }])), 4 * Math.SQRT2);
    close(quantile(1, exponentialBuckets([{ ...shape, positive: new Map([[2, 10]]) }])), 8);
  });

  it('goes from the lowest negative value over zero to the highest', () => {
    const buckets = exponentialBuckets([
      {
        ...shape,
        positive: new Map([[0, 1]]),
        negative: new Map([[1, 1]]),
        zeroCount: 2,
        zeroThreshold: 0.5,
      },
    ]);
    assert.deepEqual(
      buckets.map(({ lower, upper, count }) => [lower, upper, count]),
      [
        [-4, -2, 1],
        [-0.5, 0.5, 2],
        [1, 2, 1],
      ],
    );
    close(quantile(0.5, buckets), 0);
    close(quantile(0.25, buckets), -2);
  });

  it('of different scales is taken at the coarsest', () => {
    // Scale 1: base sqrt(2); its indices 4 and 5 are together index 2 of scale 0, -1 and -2 are -1.
    const buckets = exponentialBuckets([
      { ...shape, positive: new Map([[2, 1]]) },
      {
        ...shape,
        scale: 1,
        positive: new Map([
          [4, 2],
          [5, 3],
          [-1, 4],
          [-2, 5],
        ]),
      },
    ]);
    assert.deepEqual(
      buckets.map(({ lower, upper, count }) => [lower, upper, count]),
      [
        [0, 0, 0],
        [0.5, 1, 9],
        [4, 8, 6],
      ],
    );
  });
});
