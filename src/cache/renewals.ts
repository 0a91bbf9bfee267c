import type { CacheKey } from './cache-key.js';
import type { Lease } from './shared-tier.js';

const TICK_MS = 500;
/** Up to 1.5 s, a third of a lease: it survives one renewal that is lost. */
const TICKS = 3;

/** Leases that are renewed while what they are for is being computed. One timer for all: most are held for less time than one takes to be set. */
export class Renewals {
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
