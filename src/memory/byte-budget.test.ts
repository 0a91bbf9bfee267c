import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { AppError } from '../errors.js';
import { ByteBudget, Holding } from './byte-budget.js';

describe('The byte budget', () => {
  it('lets in what fits and makes the rest wait in order', async () => {
    const budget = new ByteBudget(100, 1000);
    const first = await budget.acquire(60);
    const order: string[] = [];
    const noting = async <T>(name: string, admitted: T | Promise<T>) => {
      const release = await admitted;
      order.push(name);
      return release;
    };
    const second = noting('second', budget.acquire(60));
    const third = noting('third', budget.acquire(10));
    await new Promise((resolve) => setImmediate(resolve));
    assert.deepEqual(order, [], 'the small one does not overtake');
    first();
    (await second)();
    (await third)();
    assert.deepEqual(order, ['second', 'third']);
    assert.deepEqual(budget.stats(), { usedBytes: 0, waiting: 0 });
  });

  it('refuses with a Retry-After after the longest wait, and lets the next in', async () => {
    const budget = new ByteBudget(100, 20);
    const release = await budget.acquire(90);
    const tooMuch = budget.acquire(50);
    const fits = budget.acquire(5);
    await assert.rejects(
      async () => tooMuch,
      (error) => error instanceof AppError && error.status === 503 && error.retryAfterSeconds === 1,
    );
    (await fits)();
    release();
    assert.equal(budget.stats().usedBytes, 0);
  });

  it('refuses at once when as many wait as may', async () => {
    const budget = new ByteBudget(100, 60_000, 2);
    const release = await budget.acquire(100);
    const waiting = [budget.acquire(50), budget.acquire(50)];
    await assert.rejects(
      async () => budget.acquire(1),
      (error) => error instanceof AppError && error.status === 503,
    );
    release();
    for (const admitted of waiting) (await admitted)();
    (await budget.acquire(1))();
    assert.deepEqual(budget.stats(), { usedBytes: 0, waiting: 0 });
  });

  it('lets a request larger than all of it through, alone', async () => {
    const budget = new ByteBudget(100, 1000);
    const release = await budget.acquire(1_000_000);
    assert.equal(budget.stats().usedBytes, 100);
    release();
    release();
    assert.equal(budget.stats().usedBytes, 0, 'giving back twice counts once');
  });
});

describe('What a request holds of the budget', () => {
  it('grows step by step, and is given back as a whole', async () => {
    const budget = new ByteBudget(100, 20);
    const holding = new Holding(budget);
    await holding.growTo(10);
    await holding.growTo(40);
    await holding.growTo(30);
    assert.equal(budget.stats().usedBytes, 40);
    await assert.rejects(
      async () => new Holding(budget).growTo(70),
      (error) => error instanceof AppError && error.status === 503,
    );
    holding.release();
    assert.equal(budget.stats().usedBytes, 0);
  });

  it('never waits for more than there is in all', async () => {
    const budget = new ByteBudget(100, 20);
    const holding = new Holding(budget);
    await holding.growTo(60);
    await holding.growTo(1000);
    assert.equal(budget.stats().usedBytes, 100);
  });

  it('keeps nothing when it is admitted after its request has gone', async () => {
    const budget = new ByteBudget(100, 1000);
    const release = await budget.acquire(100);
    const holding = new Holding(budget);
    const growing = holding.growTo(50);
    holding.release();
    release();
    await growing;
    assert.equal(budget.stats().usedBytes, 0);
  });
});
