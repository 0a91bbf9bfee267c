import { AppError } from '../errors.js';

interface Waiter {
  bytes: number;
  admit: (release: () => void) => void;
  timer: NodeJS.Timeout;
}

/**
 * Admission by bytes: how much request data may be in memory at once.
 *
 * Whoever does not fit waits a bounded time, in order of arrival, and is then refused with a Retry-After. Slowing down
 * comes before refusing, because several OpenTelemetry SDKs drop a batch at its first refusal.
 */
export class ByteBudget {
  private used = 0;
  private readonly waiters: Waiter[] = [];

  constructor(
    readonly maxBytes: number,
    private readonly maxWaitMs: number,
    /** What a request has sent so far waits with it, uncounted: more than this many are refused at once. */
    private readonly maxWaiting = 1024,
  ) {}

  /** Bytes in use and requests waiting. */
  stats(): { usedBytes: number; waiting: number } {
    return { usedBytes: this.used, waiting: this.waiters.length };
  }

  /**
   * Takes `bytes` from the budget; the result, a promise where it has to wait, is the function that gives them back (idempotent). More than the whole
   * budget is taken as the whole budget, so that a single large request still gets through, alone.
   *
   * @throws AppError UNAVAILABLE after `maxWaitMs`, or at once when too many wait already
   */
  acquire(bytes: number): (() => void) | Promise<() => void> {
    const wanted = Math.min(bytes, this.maxBytes);
    if (this.waiters.length === 0 && this.used + wanted <= this.maxBytes) return this.take(wanted);
    if (this.waiters.length >= this.maxWaiting) return Promise.reject(noRoom());
    return new Promise((resolve, reject) => {
      const waiter: Waiter = {
        bytes: wanted,
        admit: resolve,
        timer: setTimeout(() => {
          this.waiters.splice(this.waiters.indexOf(waiter), 1);
          reject(noRoom());
          this.admitWaiters();
        }, this.maxWaitMs),
      };
      this.waiters.push(waiter);
    });
  }

  private take(bytes: number): () => void {
    this.used += bytes;
    let held = true;
    return () => {
      if (!held) return;
      held = false;
      this.used -= bytes;
      this.admitWaiters();
    };
  }

  private admitWaiters(): void {
    while (this.waiters.length > 0 && this.used + this.waiters[0].bytes <= this.maxBytes) {
      const waiter = this.waiters.shift()!;
      clearTimeout(waiter.timer);
      waiter.admit(this.take(waiter.bytes));
    }
  }
}

function noRoom(): AppError {
  return new AppError('UNAVAILABLE', 'More data is arriving than can be taken in; send this again later.');
}

/** What one request has of the budget: it grows with the body, so that bytes count when they are there. */
export class Holding {
  private bytes = 0;
  private isReleased = false;
  private readonly parts: (() => void)[] = [];

  constructor(private readonly budget: ByteBudget) {}

  /**
   * Resolves when it is at least `bytes`, or the whole budget; not a promise where there is room. One call at a time.
   *
   * @throws AppError UNAVAILABLE when there is no room in time
   */
  growTo(bytes: number): undefined | Promise<void> {
    const more = Math.min(bytes, this.budget.maxBytes) - this.bytes;
    if (more <= 0) return undefined;
    const acquired = this.budget.acquire(more);
    if (acquired instanceof Promise) return acquired.then((release) => this.keep(more, release));
    this.keep(more, acquired);
    return undefined;
  }

  private keep(bytes: number, release: () => void): void {
    if (this.isReleased) {
      release();
      return;
    }
    this.bytes += bytes;
    this.parts.push(release);
  }

  /** Gives everything back, also what is still being waited for. */
  release(): void {
    this.isReleased = true;
    for (const release of this.parts) release();
  }
}
