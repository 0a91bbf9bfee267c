/** A repeatable random run: the seed is printed, and TEST_SEED sets it. */
export class Random {
  private state: number;

  private constructor(readonly seed: number) {
    this.state = seed | 0;
  }

  /** @param name of the run, for the printed line that says how to repeat it */
  static announced(name: string): Random {
    const given = process.env.TEST_SEED;
    const seed = given ? Number(given) : Math.floor(Math.random() * 2 ** 31);
    console.log(`# ${name}: TEST_SEED=${seed}`);
    return new Random(seed);
  }

  /** A whole number of [0, limit). */
  below(limit: number): number {
    this.state = (this.state + 0x6d2b79f5) | 0;
    let t = Math.imul(this.state ^ (this.state >>> 15), 1 | this.state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return Math.floor((((t ^ (t >>> 14)) >>> 0) / 4294967296) * limit);
  }

  pick<T>(values: readonly T[]): T {
    return values[this.below(values.length)];
  }
}
