import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { isFired, type TickRange, Ticks, withFired } from './fired-ticks.js';
import { dueTicks } from './repeat-timer.js';

const MINUTE = 60_000;
const NOON = Date.UTC(2026, 0, 1, 12);

/** A scheduler that looks once a second, on a wall clock that can be put. */
class Scheduler {
  readonly ticks = new Ticks('* * * * *');
  readonly fired: number[] = [];
  ranges: TickRange[];

  constructor(private wallMs: number) {
    const last = this.ticks.until(wallMs);
    this.ranges = withFired([], last, last);
  }

  /** @param sinceMs since the look before */
  look(sinceMs: number): void {
    for (const tickMs of dueTicks(this.ticks, this.ranges, this.wallMs, sinceMs)) {
      this.fired.push(tickMs);
      this.ranges = withFired(this.ranges, tickMs, this.ticks.until(tickMs - 1));
    }
  }

  run(ms: number): void {
    for (const endMs = this.wallMs + ms; this.wallMs < endMs; this.look(1000)) this.wallMs += 1000;
  }

  jump(ms: number): void {
    this.wallMs += ms;
  }

  /** What was fired since the last call, in minutes from noon. */
  taken(): number[] {
    return this.fired.splice(0).map((tickMs) => (tickMs - NOON) / MINUTE);
  }
}

describe('The ticks of a repetition', () => {
  it('come one by one while the clock runs', () => {
    const scheduler = new Scheduler(NOON + 500);
    scheduler.run(5 * MINUTE);
    assert.deepEqual(scheduler.taken(), [1, 2, 3, 4, 5]);
  });

  it('do not come again when the clock is put back, and go on where it left off', () => {
    const scheduler = new Scheduler(NOON + 500);
    scheduler.run(5 * MINUTE);
    scheduler.jump(-3 * MINUTE);
    scheduler.run(6 * MINUTE);
    assert.deepEqual(scheduler.taken(), [1, 2, 3, 4, 5, 6, 7, 8]);
  });

  it('are made up for once, by the last one, when the clock is put forward', () => {
    const scheduler = new Scheduler(NOON + 500);
    scheduler.run(2 * MINUTE);
    scheduler.jump(60 * MINUTE);
    scheduler.run(2 * MINUTE);
    assert.deepEqual(scheduler.taken(), [1, 2, 62, 63, 64]);
  });

  it('come although the clock was a year ahead for a while', () => {
    const scheduler = new Scheduler(NOON + 500);
    scheduler.run(2 * MINUTE);
    scheduler.jump(365 * 24 * 60 * MINUTE);
    scheduler.run(2 * MINUTE);
    scheduler.jump(-365 * 24 * 60 * MINUTE);
    scheduler.taken();
    scheduler.run(3 * MINUTE);
    // 3 passed meanwhile, and is made up for by 4.
    assert.deepEqual(scheduler.taken(), [4, 5, 6, 7]);
  });

  it('all come when the process only stood still', () => {
    const scheduler = new Scheduler(NOON + 500);
    scheduler.jump(3 * MINUTE);
    scheduler.look(3 * MINUTE);
    assert.deepEqual(scheduler.taken(), [1, 2, 3]);
  });

  it('are remembered as few ranges', () => {
    let ranges: TickRange[] = [];
    for (let tick = 0; tick < 1000; tick++) ranges = withFired(ranges, tick * MINUTE, (tick - 1) * MINUTE);
    assert.deepEqual(ranges, [[0, 999 * MINUTE]]);
    for (let tick = 2000; tick < 4000; tick += 10)
      ranges = withFired(ranges, tick * MINUTE, (tick - 1) * MINUTE);
    assert.equal(ranges.length, 8);
    assert.ok(isFired(ranges, 3990 * MINUTE) && !isFired(ranges, 3989 * MINUTE));
  });
});
