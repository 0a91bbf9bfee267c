import type { Logger } from 'pino';
import type { CacheKey } from './cache-key.js';
import type { CacheStats } from './cache-stats.js';
import { CircuitBreaker } from './circuit-breaker.js';
import { type Invalidation, writeInvalidation } from './invalidation.js';
import type { Lease, Lookup, SharedTier, SharedTtl } from './shared-tier.js';

const RETRY_MS = 250;
/** More are told as one: everything. */
const MAX_PENDING = 1_000;

/**
 * A shared tier that may fail: nothing here ever rejects, `undefined` is "not known". After some failures it is left alone for a
 * while. An invalidation that it could not be told is told before anything else is asked of it, and meanwhile again and again.
 */
export class GuardedTier {
  private readonly breaker = new CircuitBreaker();
  private readonly pending = new Map<string, Invalidation>();
  private telling: Promise<boolean> | undefined;
  private retry: NodeJS.Timeout | undefined;

  constructor(
    private readonly tier: SharedTier,
    private readonly stats: CacheStats,
    private readonly nowMs: () => number,
    private readonly log: Pick<Logger, 'warn'>,
  ) {}

  get isUp(): boolean {
    return this.tier.isUp && !this.breaker.isOpen(this.nowMs());
  }

  /** Invalidations that it has yet to be told. */
  get owed(): number {
    return this.pending.size;
  }

  async lookUp(key: CacheKey): Promise<Lookup | undefined> {
    if (this.owesSome && !(await this.tellPending())) return undefined;
    return this.ask('look up', () => this.tier.lookUp(key));
  }

  async lease(key: CacheKey, token: string, leastFreshMs: number): Promise<Lookup | undefined> {
    if (this.owesSome && !(await this.tellPending())) return undefined;
    return this.ask('lease', () => this.tier.lease(key, token, leastFreshMs));
  }

  store(key: CacheKey, text: string, ttl: SharedTtl, lease: Lease): Promise<boolean | undefined> {
    return this.ask('store', () => this.tier.store(key, text, ttl, lease));
  }

  /** What cannot be put is invalidated: another value may be there. */
  async put(key: CacheKey, text: string, ttl: SharedTtl): Promise<void> {
    const isReady = !this.owesSome || (await this.tellPending());
    const done = isReady && (await this.ask('put', () => this.tier.put(key, text, ttl).then(() => true)));
    if (!done) this.owe({ kind: 'key', key });
  }

  async renew(key: CacheKey, lease: Lease): Promise<void> {
    await this.ask('renew', () => this.tier.renew(key, lease));
  }

  async release(key: CacheKey, lease: Lease): Promise<void> {
    await this.ask('release', () => this.tier.release(key, lease));
  }

  /** Tells the tier now or, when it cannot be told, later. */
  async invalidate(invalidation: Invalidation): Promise<void> {
    if (!(await this.tell(invalidation))) this.owe(invalidation);
  }

  /** Tells once more what is owed; for the end of the process. */
  async close(): Promise<void> {
    if (this.pending.size > 0) await this.tellPending();
    clearInterval(this.retry);
    this.retry = undefined;
    if (this.pending.size > 0)
      this.log.warn(
        `Redis was not told ${this.pending.size} invalidations: its values live on until they are over`,
      );
  }

  private get owesSome(): boolean {
    return this.pending.size > 0 || this.telling !== undefined;
  }

  private async tell(invalidation: Invalidation): Promise<boolean> {
    return (await this.ask('invalidate', () => this.tier.invalidate(invalidation).then(() => true))) ?? false;
  }

  private owe(invalidation: Invalidation): void {
    const isTooMuch = this.pending.size >= MAX_PENDING;
    const owed: Invalidation = isTooMuch ? { kind: 'all' } : invalidation;
    if (isTooMuch) this.pending.clear();
    this.pending.set(writeInvalidation(owed), owed);
    this.retry ??= setInterval(() => this.tellPending(), RETRY_MS).unref();
  }

  private tellPending(): Promise<boolean> {
    this.telling ??= this.tellAll().finally(() => (this.telling = undefined));
    return this.telling;
  }

  private async tellAll(): Promise<boolean> {
    for (const [line, invalidation] of this.pending) {
      // Taken out first: the same may come again while this is told, and is not told by it.
      this.pending.delete(line);
      if (await this.tell(invalidation)) continue;
      this.owe(invalidation);
      return false;
    }
    clearInterval(this.retry);
    this.retry = undefined;
    return true;
  }

  private async ask<T>(what: string, use: () => Promise<T>): Promise<T | undefined> {
    const startedAtMs = this.nowMs();
    if (!this.tier.isUp || !this.breaker.mayAsk(startedAtMs)) return undefined;
    try {
      const answer = await use();
      this.breaker.succeeded();
      return answer;
    } catch (error) {
      this.breaker.failed(this.nowMs());
      this.stats.sharedFailed(what, error as Error);
      return undefined;
    } finally {
      this.stats.sharedAsked(this.nowMs() - startedAtMs);
    }
  }
}
