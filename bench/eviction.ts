import type { CacheKey } from '../src/cache/cache-key.js';
import { MemoryTier } from '../src/cache/memory-tier.js';
import { randomFrom } from '../test/support/random.js';

/** Hit rates of three ways to choose what has to go, on the same traces. */

const CAPACITY = 1_000;
const REQUESTS = 400_000;

/** Returns whether the key was there; keeps it otherwise. */
type Policy = (key: number) => boolean;

function fifo(): Policy {
  const kept = new Set<number>();
  return (key) => {
    if (kept.has(key)) return true;
    if (kept.size === CAPACITY) kept.delete(kept.values().next().value!);
    kept.add(key);
    return false;
  };
}

function lru(): Policy {
  const kept = new Set<number>();
  return (key) => {
    const isHit = kept.delete(key);
    if (!isHit && kept.size === CAPACITY) kept.delete(kept.values().next().value!);
    kept.add(key);
    return isHit;
  };
}

function sieve(): Policy {
  const tier = new MemoryTier(CAPACITY, Number.MAX_SAFE_INTEGER);
  const entry = { bytes: 1, freshUntilMs: 1, staleUntilMs: 1 };
  return (key) => {
    const name = String(key) as CacheKey;
    if (tier.get(name, 0)) return true;
    tier.set(name, entry, 0);
    return false;
  };
}

/** Keys 0 to `count - 1`, the nth asked for in proportion to 1 / n^alpha. */
function zipf(count: number, alpha: number, random: () => number): () => number {
  const sums = new Float64Array(count);
  let sum = 0;
  for (let n = 0; n < count; n++) {
    sum += (n + 1) ** -alpha;
    sums[n] = sum;
  }
  return () => {
    const wanted = random() * sum;
    let [low, high] = [0, count - 1];
    while (low < high) {
      const middle = (low + high) >> 1;
      if (sums[middle] < wanted) low = middle + 1;
      else high = middle;
    }
    return low;
  };
}

function traces(): Record<string, () => number> {
  const random = randomFrom(7);
  const [flat, steep] = [zipf(20_000, 0.8, random), zipf(20_000, 1.1, random)];
  const scanned = zipf(20_000, 1, random);
  let n = 0;
  let once = 1_000_000;
  return {
    'Zipf 0.8 of 20,000 keys': flat,
    'Zipf 1.1 of 20,000 keys': steep,
    'Zipf 1.0, every 20th thousand a scan of new keys': () => (++n % 20_000 < 2_000 ? once++ : scanned()),
    'half Zipf 1.0, half keys asked for once': () => (random() < 0.5 ? once++ : scanned()),
    'a loop over 1,100 keys': () => ++n % 1_100,
  };
}

/** Rows of [trace, FIFO, LRU, SIEVE], hit rates in percent. */
export function evictionTable(): string[][] {
  return Object.entries(traces()).map(([name, next]) => {
    const policies = [fifo(), lru(), sieve()];
    const hits = [0, 0, 0];
    for (let n = 0; n < REQUESTS; n++) {
      const key = next();
      for (const [index, policy] of policies.entries()) if (policy(key)) hits[index]++;
    }
    return [name, ...hits.map((count) => `${((100 * count) / REQUESTS).toFixed(1)} %`)];
  });
}
