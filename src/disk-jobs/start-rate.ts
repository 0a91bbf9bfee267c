const WINDOW_MS = 1000;

/**
 * At most so many starts in any second, whichever second one looks at: a bucket that refills would let twice as many
 * through around a pause. Times are of the monotonic clock, so a jump of the wall clock neither stops nor frees it.
 */
export class StartRate {
  private readonly starts: Float64Array;
  private oldest = 0;

  constructor(perSecond: number) {
    this.starts = new Float64Array(perSecond).fill(Number.NEGATIVE_INFINITY);
  }

  /** How long until one more may start; 0: now. */
  waitMs(nowMs: number): number {
    return Math.max(0, this.starts[this.oldest] + WINDOW_MS - nowMs);
  }

  started(nowMs: number): void {
    this.starts[this.oldest] = nowMs;
    this.oldest = (this.oldest + 1) % this.starts.length;
  }
}
