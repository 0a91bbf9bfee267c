import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { randomFrom } from '../../test/support/random.js';
import { Fifo } from './fifo.js';
import { Heap } from './heap.js';
import { StartRate } from './start-rate.js';

describe('What the jobs are kept in', () => {
  it('a heap gives the least first, and lists in order without changing', () => {
    const random = randomFrom(1);
    const numbers = Array.from({ length: 1000 }, () => Math.floor(random() * 500));
    const heap = new Heap<number>((a, b) => a < b);
    for (const number of numbers) heap.push(number);
    const sorted = numbers.sort((a, b) => a - b);
    assert.deepEqual([...heap.inOrder()], sorted);
    assert.deepEqual(
      sorted.map(() => heap.pop()),
      sorted,
    );
    assert.equal(heap.pop(), undefined);
  });

  it('a queue gives what came first, however much went through it', () => {
    const fifo = new Fifo<number>();
    let next = 0;
    for (let n = 0; n < 10_000; n++) {
      fifo.push(n);
      if (n % 3 > 0) assert.equal(fifo.shift(), next++);
    }
    assert.equal(fifo.length, 10_000 - next);
    assert.deepEqual([...fifo].slice(0, 2), [next, next + 1]);
    while (fifo.length > 0) assert.equal(fifo.shift(), next++);
    assert.equal(fifo.shift(), undefined);
  });

  it('no second, wherever it begins, has more starts than allowed', () => {
    const random = randomFrom(2);
    const rate = new StartRate(7);
    const starts: number[] = [];
    for (let nowMs = 0; nowMs < 20_000; nowMs += random() * 300) {
      while (rate.waitMs(nowMs) === 0) {
        rate.started(nowMs);
        starts.push(nowMs);
      }
      const waitMs = rate.waitMs(nowMs);
      assert.ok(waitMs > 0 && waitMs <= 1000);
    }
    for (const from of starts)
      assert.ok(starts.filter((at) => at >= from && at < from + 1000).length <= 7, `from ${from}`);
    assert.ok(starts.length >= 7 * 18);
  });
});
