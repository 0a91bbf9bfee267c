import type { Logger } from 'pino';
import type { CacheKey } from './cache-key.js';
import { type CacheTtl, DEFAULT_TTL, refreshBeforeMs } from './cache-profile.js';
import { type Answers, type CacheReport, CacheStats } from './cache-stats.js';
import { pack } from './cache-value.js';
import { type Cached, Flight, Flights } from './flight.js';
import { GuardedTier } from './guarded-tier.js';
import type { Invalidation } from './invalidation.js';
import { Loader, type Source, sharedTtl, unpackFresh } from './loader.js';
import { type MemoryEntry, MemoryTier } from './memory-tier.js';
import type { SharedTier } from './shared-tier.js';

const SWEEP_MS = 60_000;
/** While invalidations of other instances are not heard, nothing is given from memory for longer. */
export const CUT_OFF_MS = 5_000;
const MAX_VALUE_LENGTH = 1024 * 1024;
const STALE_AFTER_MS = 500;

export interface CacheOptions {
  maxEntries: number;
  maxBytes: number;
  /** Of one value as text, in characters: larger ones are not kept. */
  maxValueLength?: number;
  /** Where a value is just over: how long the source may take before that one is given instead. */
  staleAfterMs?: number;
  /** Monotonic milliseconds. */
  nowMs?: () => number;
}

interface Entry extends MemoryEntry {
  readonly value: unknown;
  /** Then it is computed anew beside, if somebody asks. */
  readonly refreshAtMs: number;
  /** Made once: a hit makes nothing. */
  readonly hit: Promise<Cached<unknown>>;
  readonly answers: Answers;
}

/**
 * The cache: values in memory (L1) and, shared by all instances, in Redis (L2). Redis is never the reason that anything fails or waits for long:
 * without it there is L1. Values are plain data, frozen. None is given after its invalidation has returned here, nor 100 ms later
 * anywhere; see docs/decisions/cache.md for what holds while Redis is away.
 */
export class CacheService {
  private readonly l1: MemoryTier<Entry>;
  private readonly l2: GuardedTier | undefined;
  private readonly loader: Loader;
  private readonly stats = new CacheStats();
  private readonly flights = new Flights();
  private readonly sweeping: NodeJS.Timeout;
  private readonly nowMs: () => number;
  private readonly maxValueLength: number;
  private readonly staleAfterMs: number;
  private isListening: boolean;

  /** @param shared the second tier; undefined: this process is alone */
  constructor(options: CacheOptions, shared: SharedTier | undefined, log: Pick<Logger, 'warn'>) {
    this.nowMs = options.nowMs ?? (() => performance.now());
    this.maxValueLength = options.maxValueLength ?? MAX_VALUE_LENGTH;
    this.staleAfterMs = options.staleAfterMs ?? STALE_AFTER_MS;
    this.l1 = new MemoryTier(options.maxEntries, options.maxBytes);
    this.l2 = shared && new GuardedTier(shared, this.stats, this.nowMs, log);
    this.loader = new Loader(this.l2, this.stats, this.nowMs, this.maxValueLength, (...kept) =>
      this.keep(...kept),
    );
    this.isListening = shared === undefined;
    this.sweeping = setInterval(() => this.l1.sweep(this.nowMs()), SWEEP_MS).unref();
  }

  /**
   * The value of a key: from memory, from Redis, or from its source, which is asked once for all who want it at the same time, here and on
   * other instances. A source that fails or is slow gives way to a value that is just over, where there is one.
   *
   * @param source its signal is aborted when every caller who gave one has gone away; what it returns is frozen, and undefined is kept nowhere
   * @param signal of the caller, who may go away before the others do
   * @throws what the source throws, to all who wait for it; the reason of `signal`
   */
  wrap<T>(
    key: CacheKey,
    ttl: CacheTtl,
    source: (signal: AbortSignal) => Promise<T> | T,
    signal?: AbortSignal,
  ): Promise<Cached<T>> {
    const nowMs = this.nowMs();
    const entry = this.l1.get(key, nowMs);
    if (entry !== undefined && nowMs < entry.freshUntilMs && ttl.l1Seconds > 0) {
      entry.answers.l1Hits++;
      if (nowMs >= entry.refreshAtMs) this.refresh(key, ttl, source);
      return entry.hit as Promise<Cached<T>>;
    }
    return this.fly(key, ttl, source, signal, entry);
  }

  /** The value of a key if it is there and fresh. */
  async get<T>(key: CacheKey, ttl: CacheTtl = DEFAULT_TTL): Promise<T | undefined> {
    const nowMs = this.nowMs();
    const entry = this.l1.get(key, nowMs);
    if (entry !== undefined && nowMs < entry.freshUntilMs) {
      entry.answers.l1Hits++;
      return entry.value as T;
    }
    const watch = this.flights.watch(key);
    const looked = await this.l2?.lookUp(key);
    this.flights.unwatch(watch);
    const fresh = unpackFresh(looked);
    this.stats.answers(key)[fresh ? 'l2Hits' : 'misses']++;
    if (fresh && !watch.isOutdated) this.keep(key, fresh.value, fresh.bytes, ttl, fresh.freshMs);
    return fresh?.value as T | undefined;
  }

  /** Keeps a value in place of whatever is there or on its way; other instances are told. One that cannot be kept is counted. */
  async set(key: CacheKey, value: unknown, ttl: CacheTtl = DEFAULT_TTL): Promise<void> {
    this.forget({ kind: 'key', key });
    const packed = ttl.l1Seconds === 0 ? 'none' : pack(value, this.maxValueLength);
    if (typeof packed === 'string') {
      if (packed !== 'none') this.stats.notKept(packed);
      return this.del(key);
    }
    const watch = this.flights.watch(key);
    await this.l2?.put(key, packed.text, sharedTtl(ttl));
    this.flights.unwatch(watch);
    if (!watch.isOutdated) this.keep(key, value, packed.bytes, ttl);
  }

  /** Drops a key, on all instances. */
  del(key: CacheKey): Promise<void> {
    return this.invalidate({ kind: 'key', key });
  }

  /**
   * Drops what a pattern means, on all instances: `*` is any characters, `?` one. What `keysUnder` makes (`metrics:<tenant>:*`) costs one
   * command, however many keys there are; others are looked for with SCAN.
   */
  delPattern(pattern: string): Promise<void> {
    return this.invalidate({ kind: 'pattern', pattern });
  }

  /** Drops everything, on all instances. */
  clear(): Promise<void> {
    return this.invalidate({ kind: 'all' });
  }

  getStats(): CacheReport {
    const { size: entries, bytes, maxEntries, maxBytes, evictions } = this.l1;
    const l2 = this.l2 && { isUp: this.l2.isUp, ...this.stats.sharedErrors, owedInvalidations: this.l2.owed };
    const { isListening } = this;
    return {
      ...this.stats.report(),
      l1: { entries, bytes, maxEntries, maxBytes, evictions },
      l2,
      isListening,
    };
  }

  /** Another instance has invalidated something. */
  heard(invalidation: Invalidation): void {
    this.stats.heardInvalidations++;
    this.forget(invalidation);
  }

  /** From now on all invalidations of other instances are heard; what was missed until now is not known. */
  listening(): void {
    this.isListening = true;
    this.forget({ kind: 'all' });
  }

  /** From now on invalidations of other instances are not heard. */
  cutOff(): void {
    this.isListening = false;
    this.l1.limitTo(this.nowMs() + CUT_OFF_MS);
  }

  /** Waits for what is on its way, and tells Redis what it has yet to be told. */
  async close(): Promise<void> {
    clearInterval(this.sweeping);
    await this.flights.settled();
    await this.l2?.close();
  }

  private async invalidate(invalidation: Invalidation): Promise<void> {
    this.stats.ownInvalidations++;
    this.forget(invalidation);
    if (this.l2 === undefined) return;
    await this.l2.invalidate(invalidation);
    // Once more for what was read from Redis between.
    this.forget(invalidation);
  }

  private forget(invalidation: Invalidation): void {
    this.l1.invalidate(invalidation);
    this.flights.invalidate(invalidation);
  }

  private keep(
    key: CacheKey,
    value: unknown,
    bytes: number,
    ttl: CacheTtl,
    maxMs = Number.POSITIVE_INFINITY,
  ): void {
    const nowMs = this.nowMs();
    const ttlMs = ttl.l1Seconds * 1000;
    const overAtMs = this.isListening ? Number.POSITIVE_INFINITY : nowMs + CUT_OFF_MS;
    const freshUntilMs = Math.min(nowMs + Math.min(ttlMs, maxMs), overAtMs);
    const staleUntilMs = Math.min(freshUntilMs + ttlMs, overAtMs);
    const beforeMs = refreshBeforeMs(ttl);
    const entry = {
      value,
      bytes,
      freshUntilMs,
      staleUntilMs,
      refreshAtMs: beforeMs > 0 ? freshUntilMs - beforeMs : Number.POSITIVE_INFINITY,
      hit: Promise.resolve(Object.freeze({ value, source: 'L1' as const })),
      answers: this.stats.answers(key),
    };
    this.l1.set(key, entry, nowMs);
  }

  /** Computes a value anew that is still good; whoever comes when it is over waits for the same. */
  private refresh(key: CacheKey, ttl: CacheTtl, source: Source): void {
    if (this.flights.get(key)) return;
    const flight = new Flight(key, this.staleAfterMs);
    this.flights.add(flight, this.loader.load(flight, key, ttl, source, refreshBeforeMs(ttl)));
  }

  private fly<T>(
    key: CacheKey,
    ttl: CacheTtl,
    source: Source,
    signal: AbortSignal | undefined,
    old: Entry | undefined,
  ): Promise<Cached<T>> {
    const isKept = ttl.l1Seconds > 0;
    let flight = isKept ? this.flights.get(key) : undefined;
    if (flight === undefined) {
      flight = new Flight(key, this.staleAfterMs);
      if (old && isKept) flight.offerStale(old.value);
      if (isKept) this.flights.add(flight, this.loader.load(flight, key, ttl, source));
      else this.loader.computeOnly(flight, source);
    }
    return this.count(key, flight.board(signal) as Promise<Cached<T>>);
  }

  private count<T>(key: CacheKey, answer: Promise<Cached<T>>): Promise<Cached<T>> {
    return answer.then((cached) => {
      const answers = this.stats.answers(key);
      if (cached.source === 'L2') answers.l2Hits++;
      else if (cached.source === 'stale') answers.stale++;
      else answers.misses++;
      return cached;
    });
  }
}
