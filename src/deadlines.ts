const TICK_MS = 50;

interface Waiting {
  ticksLeft: number;
  readonly giveUp: () => void;
}

/** Answers that are waited for no longer than some time. One timer for all: to set and clear one for each cost as much as what was asked. */
export class Deadlines {
  private readonly waiting = new Set<Waiting>();
  private ticking: NodeJS.Timeout | undefined;

  /**
   * @param timeoutMs up to 50 ms more
   * @throws what `error` makes, when the answer is not there in time
   */
  within<T>(answer: Promise<T>, timeoutMs: number, error: () => Error): Promise<T> {
    return new Promise((resolve, reject) => {
      // One more, as the first comes sooner than after a whole one.
      const waiting = { ticksLeft: Math.ceil(timeoutMs / TICK_MS) + 1, giveUp: () => reject(error()) };
      this.waiting.add(waiting);
      this.ticking ??= setInterval(() => this.tick(), TICK_MS);
      answer.then(
        (value) => {
          this.waiting.delete(waiting);
          resolve(value);
        },
        (failure) => {
          this.waiting.delete(waiting);
          reject(failure);
        },
      );
    });
  }

  /** Nobody is given up any more. */
  close(): void {
    clearInterval(this.ticking);
  }

  /** A long step of this process, after which an answer is only not read yet, is one tick however long it took. */
  private tick(): void {
    if (this.waiting.size === 0) {
      clearInterval(this.ticking);
      this.ticking = undefined;
    }
    for (const waiting of this.waiting) {
      if (--waiting.ticksLeft > 0) continue;
      this.waiting.delete(waiting);
      setImmediate(waiting.giveUp);
    }
  }
}
