/** The times an item may have: [receivedAt - retention, receivedAt + 1 hour], both ends included. */
export interface TimeWindow {
  /** When the body arrived, Unix milliseconds. */
  receivedAtMs: number;
  retentionDays: number;
}

const DAY_MS = 86_400_000;
const FUTURE_MS = 3_600_000;
const MAX_UINT64 = 2n ** 64n - 1n;

/**
 * A time window in nanoseconds, held as 32-bit halves so that all 64 bits of a time are compared without BigInt.
 * One object is set again for every body.
 */
export class TimeBounds {
  private earliestLow = 0;
  private earliestHigh = 0;
  private latestLow = 0;
  private latestHigh = 0;
  /** When the body arrived, in nanoseconds. */
  receivedLow = 0;
  receivedHigh = 0;

  set(window: TimeWindow): void {
    const received = nanoseconds(window.receivedAtMs);
    const earliest = nanoseconds(window.receivedAtMs - window.retentionDays * DAY_MS);
    const latest = nanoseconds(window.receivedAtMs + FUTURE_MS);
    this.receivedLow = Number(received & 0xffffffffn);
    this.receivedHigh = Number(received >> 32n);
    this.earliestLow = Number(earliest & 0xffffffffn);
    this.earliestHigh = Number(earliest >> 32n);
    this.latestLow = Number(latest & 0xffffffffn);
    this.latestHigh = Number(latest >> 32n);
  }

  /** Whether the time with these unsigned halves (nanoseconds) is accepted. */
  includes(low: number, high: number): boolean {
    if (high < this.earliestHigh || high > this.latestHigh) return false;
    if (high === this.earliestHigh && low < this.earliestLow) return false;
    return high !== this.latestHigh || low <= this.latestLow;
  }
}

function nanoseconds(ms: number): bigint {
  const value = BigInt(Math.floor(ms)) * 1_000_000n;
  return value < 0n ? 0n : value > MAX_UINT64 ? MAX_UINT64 : value;
}

/** The accepted times in words, for a person who reads why an item was rejected. */
export function describeWindow(window: TimeWindow): string {
  const earliest = new Date(window.receivedAtMs - window.retentionDays * DAY_MS);
  const latest = new Date(window.receivedAtMs + FUTURE_MS);
  return `${earliest.toISOString()} to ${latest.toISOString()}`;
}
