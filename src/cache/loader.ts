import { randomBytes } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import type { CacheKey } from './cache-key.js';
import type { CacheTtl } from './cache-profile.js';
import type { CacheStats } from './cache-stats.js';
import { bytesOf, pack, unpack } from './cache-value.js';
import type { Flight } from './flight.js';
import type { GuardedTier } from './guarded-tier.js';
import type { Lease, Lookup, SharedTtl } from './shared-tier.js';

/** How long another instance is waited for. Looked whether it is done is after an eighth of the time waited so far, within these. */
const MAX_WAIT_MS = 5_000;
const MIN_PAUSE_MS = 3;
const MAX_PAUSE_MS = 100;

export type Source = (signal: AbortSignal) => unknown;

/** Puts a value into memory; for no longer than `maxMs`. */
type Keep = (key: CacheKey, value: unknown, bytes: number, ttl: CacheTtl, maxMs?: number) => void;

/** In Redis a value is kept for one more lifetime of L1 after its own, for when the source fails. */
export function sharedTtl({ l1Seconds, l2Seconds }: CacheTtl): SharedTtl {
  return { freshMs: l2Seconds * 1000, graceMs: l1Seconds * 1000 };
}

const isFresh = ({ found }: Lookup, leastMs: number) => found !== undefined && found.freshMs > leastMs;

/** The value that was found, if it is fresh, for longer than `leastMs`, and can be read. */
export function unpackFresh(looked: Lookup | undefined, leastMs = 0) {
  if (!looked?.found || !isFresh(looked, leastMs)) return undefined;
  const { text, freshMs } = looked.found;
  return { value: unpack(text), bytes: bytesOf(text), freshMs };
}

const TICK_MS = 500;
/** Up to 1.5 s, a third of a lease: it survives one renewal that is lost. */
const TICKS = 3;

/** Leases that are renewed while what they are for is being computed. One timer for all: most are held for less time than one takes to be set. */
class Renewals {
  private readonly held = new Map<Lease, { readonly key: CacheKey; ticksLeft: number }>();
  private ticking: NodeJS.Timeout | undefined;

  constructor(private readonly renew: (key: CacheKey, lease: Lease) => void) {}

  /** Until `letGo`. */
  hold(key: CacheKey, lease: Lease): void {
    this.held.set(lease, { key, ticksLeft: TICKS });
    this.ticking ??= setInterval(() => this.tick(), TICK_MS).unref();
  }

  letGo(lease: Lease): void {
    this.held.delete(lease);
  }

  private tick(): void {
    if (this.held.size === 0) {
      clearInterval(this.ticking);
      this.ticking = undefined;
    }
    for (const [lease, holder] of this.held) {
      if (--holder.ticksLeft > 0) continue;
      holder.ticksLeft = TICKS;
      this.renew(holder.key, lease);
    }
  }
}

/** Brings one value: from Redis, else from another instance that is computing it, else from its source. */
export class Loader {
  /**
   * After a key that Redis did not have the lease of the next is asked for at once, which saves a way to Redis where many are missing; where it is
   * there after all, that costs one to give the lease back.
   */
  private expectsMiss = false;
  /** In front of the numbers of its attempts, which no other instance has then. */
  private readonly id = `${randomBytes(9).toString('base64url')}.`;
  private attempts = 0;
  private readonly renewals: Renewals;

  constructor(
    private readonly l2: GuardedTier | undefined,
    private readonly stats: CacheStats,
    private readonly nowMs: () => number,
    private readonly maxValueLength: number,
    private readonly keep: Keep,
  ) {
    this.renewals = new Renewals((key, lease) => this.l2?.renew(key, lease));
  }

  /**
   * Lands the flight, or fails it; never rejects.
   *
   * @param leastMs a value that is fresh for no longer than that is computed anew
   */
  async load(flight: Flight, key: CacheKey, ttl: CacheTtl, source: Source, leastMs = 0): Promise<void> {
    try {
      const looked = await this.lookUp(flight, key, leastMs);
      const fresh = unpackFresh(looked, leastMs);
      if (fresh === undefined) return await this.compute(flight, key, ttl, source, looked);
      if (!flight.isOutdated) this.keep(key, fresh.value, fresh.bytes, ttl, fresh.freshMs);
      flight.landed({ value: fresh.value, source: 'L2' });
    } catch (error) {
      flight.failed(error);
    }
  }

  /** For values that are not kept anywhere. */
  async computeOnly(flight: Flight, source: Source): Promise<void> {
    try {
      flight.landed({ value: await this.ask(flight, source), source: 'miss' });
    } catch (error) {
      flight.failed(error);
    }
  }

  /** What is there, or the right to compute it; neither of both when another instance takes too long. */
  private async lookUp(flight: Flight, key: CacheKey, leastMs: number): Promise<Lookup | undefined> {
    if (this.l2 === undefined) return undefined;
    if (!this.expectsMiss) {
      const looked = await this.l2.lookUp(key);
      this.expectsMiss = looked !== undefined && !isFresh(looked, leastMs);
      if (!this.expectsMiss) return looked;
    }
    const token = `${this.id}${(++this.attempts).toString(36)}`;
    const startedAtMs = this.nowMs();
    let looked = await this.l2.lease(key, token, leastMs);
    this.expectsMiss = looked?.lease !== undefined;
    while (looked && !looked.lease && !isFresh(looked, leastMs)) {
      if (looked.found) flight.offerStale(unpack(looked.found.text));
      const waitedMs = this.nowMs() - startedAtMs;
      if (waitedMs > MAX_WAIT_MS) return looked;
      const pauseMs = Math.min(Math.max(MIN_PAUSE_MS, waitedMs / 8), MAX_PAUSE_MS);
      await sleep(pauseMs, undefined, { signal: flight.signal });
      looked = await this.l2.lease(key, token, leastMs);
    }
    if (looked?.lease && looked.found) flight.offerStale(unpack(looked.found.text));
    return looked;
  }

  private async compute(
    flight: Flight,
    key: CacheKey,
    ttl: CacheTtl,
    source: Source,
    looked: Lookup | undefined,
  ): Promise<void> {
    const lease = looked?.lease;
    if (lease) this.renewals.hold(key, lease);
    try {
      const value = await this.ask(flight, source);
      // Without a lease another instance is on it: then this value may be the older one.
      if (lease || !looked) await this.keepComputed(flight, key, ttl, value, lease);
      else flight.landed({ value, source: 'miss' });
    } catch (error) {
      flight.failed(error);
      if (lease) await this.l2?.release(key, lease);
    } finally {
      if (lease) this.renewals.letGo(lease);
    }
  }

  /**
   * Lands the flight before Redis has stored the value: those who wait for it already need not wait for that. In memory, for those who come later, it is
   * only then.
   */
  private async keepComputed(
    flight: Flight,
    key: CacheKey,
    ttl: CacheTtl,
    value: unknown,
    lease: Lease | undefined,
  ): Promise<void> {
    const packed = value === undefined ? undefined : pack(value, this.maxValueLength);
    if (typeof packed === 'string') this.stats.notKept(packed);
    else if (flight.isOutdated) this.stats.outdated++;
    else if (packed !== undefined) {
      const storing = lease && this.l2?.store(key, packed.text, sharedTtl(ttl), lease);
      flight.landed({ value, source: 'miss' });
      const isStored = storing && (await storing);
      if (isStored === false || flight.isOutdated) this.stats.outdated++;
      else this.keep(key, value, packed.bytes, ttl);
      return;
    }
    if (lease) await this.l2?.release(key, lease);
    flight.landed({ value, source: 'miss' });
  }

  private async ask(flight: Flight, source: Source): Promise<unknown> {
    const startedAtMs = this.nowMs();
    let hasFailed = true;
    try {
      // A signal costs as much as the rest, so one is made only for a source that takes it.
      const value = await (source.length > 0 ? source(flight.signal) : (source as () => unknown)());
      hasFailed = false;
      return value;
    } finally {
      this.stats.computed(this.nowMs() - startedAtMs, hasFailed);
    }
  }
}
