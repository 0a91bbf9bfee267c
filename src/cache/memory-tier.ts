import type { CacheKey } from './cache-key.js';
import { type Invalidation, whatIsMeant } from './invalidation.js';

/** What the tier has to know of what it keeps. */
export interface MemoryEntry {
  readonly bytes: number;
  /** Until then it is given to anybody; monotonic milliseconds, as the tier's clock. */
  readonly freshUntilMs: number;
  /** Until then it is given where the source fails or is slow. */
  readonly staleUntilMs: number;
}

interface Slot<E> {
  entry: E;
  /** Used since the hand passed it last. */
  isVisited: boolean;
}

/**
 * The first tier: values in the memory of this process, bounded by number and bytes. What has to go is chosen by SIEVE: a hand goes
 * from the oldest entry to the newest and round again; it takes the first that was not used since it passed the last time, or is over.
 * So a hit changes one bit, and what is used again outlives a scan of things that are used once.
 */
export class MemoryTier<E extends MemoryEntry = MemoryEntry> {
  private readonly slots = new Map<CacheKey, Slot<E>>();
  /** An iterator of a Map stays valid while entries come and go, and sees those that come. */
  private hand = this.slots.entries();
  private usedBytes = 0;
  private evicted = 0;

  constructor(
    readonly maxEntries: number,
    readonly maxBytes: number,
  ) {}

  get size(): number {
    return this.slots.size;
  }

  get bytes(): number {
    return this.usedBytes;
  }

  /** How many had to go for others, since the start. */
  get evictions(): number {
    return this.evicted;
  }

  /** The entry, fresh or stale; undefined when it is not there or over. */
  get(key: CacheKey, nowMs: number): E | undefined {
    const slot = this.slots.get(key);
    if (slot === undefined) return undefined;
    const { entry } = slot;
    if (nowMs < entry.freshUntilMs) {
      slot.isVisited = true;
      return entry;
    }
    if (nowMs < entry.staleUntilMs) return entry;
    this.remove(key, slot);
    return undefined;
  }

  /** Keeps an entry in place of the one of this key; one that is larger than the tier is not kept. */
  set(key: CacheKey, entry: E, nowMs: number): void {
    const slot = this.slots.get(key);
    if (entry.bytes > this.maxBytes || this.maxEntries === 0) {
      if (slot) this.remove(key, slot);
      return;
    }
    const growth = entry.bytes - (slot?.entry.bytes ?? 0);
    if (slot) slot.entry = entry;
    this.usedBytes += growth;
    this.makeRoom(key, slot ? 0 : 1, nowMs);
    if (!slot) this.slots.set(key, { entry, isVisited: false });
  }

  del(key: CacheKey): void {
    const slot = this.slots.get(key);
    if (slot) this.remove(key, slot);
  }

  invalidate(invalidation: Invalidation): void {
    const isMeant = whatIsMeant(invalidation);
    if (invalidation.kind === 'key') this.del(invalidation.key);
    else for (const [key, slot] of this.slots) if (isMeant(key)) this.remove(key, slot);
  }

  /** Forgets what is over. */
  sweep(nowMs: number): void {
    for (const [key, slot] of this.slots) if (slot.entry.staleUntilMs <= nowMs) this.remove(key, slot);
  }

  /** Nothing that is here now is given to anybody after `untilMs`. */
  limitTo(untilMs: number): void {
    for (const slot of this.slots.values()) {
      const { freshUntilMs, staleUntilMs } = slot.entry;
      if (staleUntilMs <= untilMs) continue;
      slot.entry = {
        ...slot.entry,
        freshUntilMs: Math.min(freshUntilMs, untilMs),
        staleUntilMs: untilMs,
      };
    }
  }

  private makeRoom(forKey: CacheKey, newEntries: number, nowMs: number): void {
    while (this.slots.size + newEntries > this.maxEntries || this.usedBytes > this.maxBytes) {
      let next = this.hand.next();
      if (next.done) {
        this.hand = this.slots.entries();
        next = this.hand.next();
      }
      const [key, slot] = next.value!;
      if (key === forKey) continue;
      if (slot.isVisited && nowMs < slot.entry.staleUntilMs) slot.isVisited = false;
      else {
        this.remove(key, slot);
        this.evicted++;
      }
    }
  }

  private remove(key: CacheKey, slot: Slot<E>): void {
    this.slots.delete(key);
    this.usedBytes -= slot.entry.bytes;
  }
}
