import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { CircuitBreaker } from './circuit-breaker.js';

const fail = (breaker: CircuitBreaker, ...timesMs: number[]) => {
  for (const atMs of timesMs) breaker.failed(atMs);
};

describe('The circuit breaker', () => {
  it('opens at the fifth failure in a row within 10 s', () => {
    const breaker = new CircuitBreaker();
    fail(breaker, 0, 100, 200, 300);
    assert.equal(breaker.mayAsk(300), true);
    fail(breaker, 400);
    assert.equal(breaker.mayAsk(401), false);
    assert.equal(breaker.isOpen(2399), true);
  });

  it('stays closed when one between succeeds', () => {
    const breaker = new CircuitBreaker();
    fail(breaker, 0, 1, 2, 3);
    breaker.succeeded();
    fail(breaker, 4, 5, 6, 7);
    assert.equal(breaker.mayAsk(8), true);
  });

  it('stays closed when they are further apart', () => {
    const breaker = new CircuitBreaker();
    fail(breaker, 0, 100, 200, 300, 10_350);
    assert.equal(breaker.mayAsk(10_351), true);
  });

  it('lets one try after 2 s, and everybody once that has succeeded', () => {
    const breaker = new CircuitBreaker();
    fail(breaker, 1, 2, 3, 4, 5);
    assert.deepEqual(
      [2004, 2005, 2006].map((ms) => breaker.mayAsk(ms)),
      [false, true, false],
    );
    breaker.failed(2100);
    assert.deepEqual(
      [4099, 4100, 4101].map((ms) => breaker.mayAsk(ms)),
      [false, true, false],
    );
    breaker.succeeded();
    assert.deepEqual(
      [4102, 4103].map((ms) => breaker.mayAsk(ms)),
      [true, true],
    );
    fail(breaker, 4104, 4105, 4106, 4107);
    assert.equal(breaker.mayAsk(4108), true, 'what was before is forgotten');
  });
});
