import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { healthOf, ratesBetween } from './queue-figures.js';

const look = (atMs: number, completed: number, failures: number, busyMs: number) => ({
  atMs,
  completed,
  failures,
  busyMs,
});

describe('The figures of a queue', () => {
  it('are what happened between two looks', () => {
    assert.deepEqual(ratesBetween(look(0, 100, 5, 1000), look(10_000, 300, 5, 2000)), {
      jobsPerSecond: 20,
      averageMs: 5,
      successPercent: 100,
    });
    assert.equal(ratesBetween(look(0, 0, 0, 0), look(1000, 3, 1, 9)).successPercent, 75);
  });

  it('are unknown where nothing happened, and where the counters were lost', () => {
    const nothing = { jobsPerSecond: 0, averageMs: null, successPercent: null };
    assert.deepEqual(ratesBetween(look(0, 7, 1, 9), look(0, 7, 1, 9)), nothing);
    assert.deepEqual(ratesBetween(look(0, 7, 1, 9), look(5000, 0, 0, 0)), nothing);
  });

  const steps: [string, number, boolean, number | null, string][] = [
    ['all is well', 1000, false, 90, 'ok'],
    ['the oldest job has waited for more than a second', 1001, false, 100, 'scale_up'],
    ['more than a tenth of the tries fail', 0, false, 89.9, 'alert'],
    ['both', 5000, false, 10, 'alert'],
    ['it is paused, and so late', 5000, true, null, 'paused'],
  ];
  for (const [when, lagMs, isPaused, successPercent, health] of steps) {
    it(`health is ${health} when ${when}`, () => {
      const found = healthOf({ lagMs, isPaused }, { successPercent, jobsPerSecond: 1 }, { perSecond: 100 });
      assert.equal(found.health, health);
      assert.equal(found.advice.length === 0, health === 'ok');
    });
  }

  it('advise more workers, or a larger limit where that is what holds the queue', () => {
    const adviceAt = (jobsPerSecond: number) =>
      healthOf({ lagMs: 1500, isPaused: false }, { successPercent: 100, jobsPerSecond }, { perSecond: 100 })
        .advice;
    assert.match(adviceAt(50).join(), /more workers are needed/);
    assert.match(adviceAt(99).join(), /100 a second are started.*larger per_second is needed/);
  });
});
