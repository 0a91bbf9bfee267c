import { randomUUID } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import type { CacheKey } from './cache-key.js';
import type { CacheTtl } from './cache-profile.js';
import type { CacheStats } from './cache-stats.js';
import { bytesOf, pack, unpack } from './cache-value.js';
import type { Flight } from './flight.js';
import type { GuardedTier } from './guarded-tier.js';
import type { Lease, Lookup, SharedTtl } from './shared-tier.js';

/** A third of a lease: it survives one renewal that is lost. */
const RENEW_MS = 1_500;
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

/** The value that was found, if it is fresh and can be read. */
export function unpackFresh(looked: Lookup | undefined) {
  if (!looked?.found || looked.found.freshMs <= 0) return undefined;
  const { text, freshMs } = looked.found;
  return { value: unpack(text), bytes: bytesOf(text), freshMs };
}

/** Brings one value: from Redis, else from another instance that is computing it, else from its source. */
export class Loader {
  constructor(
    private readonly l2: GuardedTier | undefined,
    private readonly stats: CacheStats,
    private readonly nowMs: () => number,
    private readonly maxValueLength: number,
    private readonly keep: Keep,
  ) {}

  /** Lands the flight, or fails it; never rejects. */
  async load(flight: Flight, key: CacheKey, ttl: CacheTtl, source: Source): Promise<void> {
    try {
      const looked = await this.lookUp(flight, key);
      const fresh = unpackFresh(looked);
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
  private async lookUp(flight: Flight, key: CacheKey): Promise<Lookup | undefined> {
    if (this.l2 === undefined) return undefined;
    const token = randomUUID();
    let looked = await this.l2.lookUp(key, token);
    const startedAtMs = this.nowMs();
    while (looked && !looked.lease && !(looked.found && looked.found.freshMs > 0)) {
      if (looked.found) flight.offerStale(unpack(looked.found.text));
      const waitedMs = this.nowMs() - startedAtMs;
      if (waitedMs > MAX_WAIT_MS) return looked;
      const pauseMs = Math.min(Math.max(MIN_PAUSE_MS, waitedMs / 8), MAX_PAUSE_MS);
      await sleep(pauseMs, undefined, { signal: flight.signal });
      looked = await this.l2.lookUp(key, token);
    }
    if (looked?.found) flight.offerStale(unpack(looked.found.text));
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
    const renewing = lease && setInterval(() => this.l2?.renew(key, lease), RENEW_MS);
    try {
      const value = await this.ask(flight, source);
      // Without a lease another instance is on it: then this value may be the older one.
      if (lease || !looked) await this.keepComputed(flight, key, ttl, value, lease);
      flight.landed({ value, source: 'miss' });
    } catch (error) {
      flight.failed(error);
      if (lease) await this.l2?.release(key, lease);
    } finally {
      clearInterval(renewing);
    }
  }

  private async keepComputed(
    flight: Flight,
    key: CacheKey,
    ttl: CacheTtl,
    value: unknown,
    lease: Lease | undefined,
  ): Promise<void> {
    const packed = pack(value, this.maxValueLength);
    if (typeof packed === 'string') this.stats.notKept(packed);
    else if (flight.isOutdated) this.stats.outdated++;
    else {
      const isStored = lease && (await this.l2?.store(key, packed.text, sharedTtl(ttl), lease));
      if (isStored === false || flight.isOutdated) this.stats.outdated++;
      else this.keep(key, value, packed.bytes, ttl);
      return;
    }
    if (lease) await this.l2?.release(key, lease);
  }

  private async ask(flight: Flight, source: Source): Promise<unknown> {
    const startedAtMs = this.nowMs();
    let hasFailed = true;
    try {
      const value = await source(flight.signal);
      hasFailed = false;
      return value;
    } finally {
      this.stats.computed(this.nowMs() - startedAtMs, hasFailed);
    }
  }
}
