import { AppError } from '../errors.js';

/** A look that is younger lets everything through; one that is older starts another beside the request. */
const FRESH_MS = 500;
/** A request waits for a look when the last one is older: so a revocation counts everywhere within a second. */
const STALE_MS = 900;
/** How long a request waits for PostgreSQL. */
const MAX_LOOK_MS = 900;
/** How long what is known goes on while PostgreSQL is away. */
const MAX_AWAY_MS = 5 * 60_000;

/**
 * The number in `access_version`, looked at by the requests that come: none come, no queries; many come, about two a
 * second.
 */
export class AccessVersion {
  private current: string | undefined;
  /** When the last look that succeeded was begun; what changed before is in `current`. */
  private lookedAtMs = Number.NEGATIVE_INFINITY;
  private triedAtMs = Number.NEGATIVE_INFINITY;
  /** Looks that were begun before this say nothing of what this process has changed. */
  private notBeforeMs = Number.NEGATIVE_INFINITY;
  private isAway = false;
  private looking: Promise<void> | undefined;

  /**
   * @param read asks PostgreSQL
   * @param nowMs a clock that never goes back
   */
  constructor(
    private readonly read: () => Promise<string>,
    private readonly nowMs: () => number = () => performance.now(),
  ) {}

  /**
   * The version as it was less than a second ago; undefined: wait for `wait()`. Apart from it so that the usual case is no
   * promise.
   */
  get(): string | undefined {
    const now = this.nowMs();
    const age = now - this.lookedAtMs;
    if (age <= FRESH_MS) return this.current;
    if (!this.looking && now - this.triedAtMs > FRESH_MS) void this.look();
    if (age <= STALE_MS) return this.current;
    // It did not answer the last time: nobody waits for it again before it has.
    return this.isAway && age <= MAX_AWAY_MS ? this.current : undefined;
  }

  /**
   * The version, after the look that is under way or one more.
   *
   * @throws AppError UNAVAILABLE when PostgreSQL has been away for longer than 5 minutes, or since the start
   */
  async wait(): Promise<string> {
    await (this.looking ?? this.look());
    if (this.current !== undefined && this.nowMs() - this.lookedAtMs <= MAX_AWAY_MS) return this.current;
    throw new AppError('UNAVAILABLE', 'Credentials cannot be checked: PostgreSQL is away.');
  }

  /** The next request looks again, whatever the age: this process has changed something itself. */
  expire(): void {
    this.notBeforeMs = this.nowMs();
    this.lookedAtMs = Math.min(this.lookedAtMs, this.notBeforeMs - STALE_MS - 1);
    this.looking = undefined;
  }

  /** Never rejects: whoever waits sees from the age of the last look whether this one succeeded. */
  private look(): Promise<void> {
    const begunAtMs = this.nowMs();
    this.triedAtMs = begunAtMs;
    const reading = this.read().then((version) => {
      // Even when nobody waits for it any more: late is better than not at all.
      if (begunAtMs < Math.max(this.lookedAtMs, this.notBeforeMs)) return;
      this.current = version;
      this.lookedAtMs = begunAtMs;
      this.isAway = false;
    });
    const looking = withinMs(reading, MAX_LOOK_MS)
      .catch(() => {
        this.isAway = true;
      })
      .finally(() => {
        if (this.looking === looking) this.looking = undefined;
      });
    this.looking = looking;
    return looking;
  }
}

/** What a promise gives, or a rejection when that takes longer. */
export function withinMs<T>(promise: Promise<T>, ms: number): Promise<T> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => reject(new Error(`no answer within ${ms} ms`)), ms);
    promise.then(resolve, reject).finally(() => clearTimeout(timer));
  });
}
