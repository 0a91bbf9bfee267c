import { setTimeout as sleep } from 'node:timers/promises';
import type { SharedTier } from '../../src/cache/shared-tier.js';

/** A shared tier that does to its caller, on command, what a network does: fails, takes time, does what was asked and loses the answer. */
export interface Chaos {
  tier: SharedTier;
  /** Shares of calls, 0 to 1. */
  errors: number;
  lostAnswers: number;
  maxDelayMs: number;
  /** How often each was done to somebody. */
  counts: { errors: number; lostAnswers: number; delays: number };
}

export function chaosOver(inner: SharedTier, random: () => number): Chaos {
  const counts = { errors: 0, lostAnswers: 0, delays: 0 };
  const disturbed = async <T>(work: () => Promise<T>): Promise<T> => {
    const dice = random();
    if (chaos.maxDelayMs > 0 && random() < 0.5) {
      counts.delays++;
      await sleep(random() * chaos.maxDelayMs);
    }
    if (dice < chaos.errors) {
      counts.errors++;
      throw new Error('chaos: connection reset');
    }
    const answer = await work();
    if (dice < chaos.errors + chaos.lostAnswers) {
      counts.lostAnswers++;
      throw new Error('chaos: connection reset after it was done');
    }
    if (chaos.maxDelayMs > 0) await sleep(random() * chaos.maxDelayMs);
    return answer;
  };
  const tier: SharedTier = {
    get isUp() {
      return inner.isUp;
    },
    lookUp: (...given) => disturbed(() => inner.lookUp(...given)),
    lease: (...given) => disturbed(() => inner.lease(...given)),
    store: (...given) => disturbed(() => inner.store(...given)),
    put: (...given) => disturbed(() => inner.put(...given)),
    renew: (...given) => disturbed(() => inner.renew(...given)),
    release: (...given) => disturbed(() => inner.release(...given)),
    invalidate: (...given) => disturbed(() => inner.invalidate(...given)),
  };
  const chaos: Chaos = { tier, errors: 0, lostAnswers: 0, maxDelayMs: 0, counts };
  return chaos;
}
