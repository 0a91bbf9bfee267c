/**
 * Quantiles of merged histograms. Pure; counts may come as differences of cumulative points, so they are signed until
 * they have been summed.
 */

/** Counts of one set of explicit bounds: `counts[i]` lies in (bounds[i-1], bounds[i]], the last one above all bounds. */
export interface ExplicitCounts {
  bounds: number[];
  counts: number[];
}

/** Counts of one scale: index i covers (base^i, base^(i+1)] with base = 2^(2^-scale); negative values mirrored. */
export interface ExponentialCounts {
  scale: number;
  positive: ReadonlyMap<number, number>;
  negative: ReadonlyMap<number, number>;
  zeroCount: number;
  zeroThreshold: number;
}

/** How many values lie between two numbers, and how they are taken to lie there. */
export interface Bucket {
  lower: number;
  upper: number;
  count: number;
  spread: 'linear' | 'exponential';
}

/**
 * The value below which the fraction `q` of the values lies, interpolated within its bucket.
 *
 * @param buckets ascending, not overlapping
 * @returns undefined when there are no values
 */
export function quantile(q: number, buckets: readonly Bucket[]): number | undefined {
  const total = buckets.reduce((sum, { count }) => sum + Math.max(0, count), 0);
  if (total <= 0) return undefined;
  const rank = q * total;
  let below = 0;
  let last: Bucket | undefined;
  for (const bucket of buckets) {
    if (bucket.count <= 0) continue;
    last = bucket;
    if (below + bucket.count >= rank) break;
    below += bucket.count;
  }
  const { lower, upper, count, spread } = last!;
  const fraction = Math.min(1, Math.max(0, (rank - below) / count));
  if (spread === 'linear' || lower === 0 || upper === 0) return lower + (upper - lower) * fraction;
  return lower * (upper / lower) ** fraction;
}

/**
 * The buckets of all sets together. Sets with different bounds meet on the union of the bounds, a bucket that is cut
 * being shared out evenly. As Prometheus does (histogram_quantile), the first bucket begins at 0 when its bound is
 * positive, else at its bound, and what lies above all bounds counts as the highest bound.
 */
export function explicitBuckets(sets: readonly ExplicitCounts[]): Bucket[] {
  const bounds = [...new Set(sets.flatMap((set) => set.bounds))].sort((a, b) => a - b);
  if (bounds.length === 0) return [];
  const counts = new Array<number>(bounds.length + 1).fill(0);
  for (const set of sets) addOnto(counts, bounds, set);
  const lowest = Math.min(0, bounds[0]);
  const highest = bounds[bounds.length - 1];
  return counts.map((count, i) => ({
    lower: i === 0 ? lowest : bounds[i - 1],
    upper: i < bounds.length ? bounds[i] : highest,
    count,
    spread: 'linear',
  }));
}

/** What lies above all bounds of its own set goes into the cell right above them. */
function addOnto(counts: number[], bounds: readonly number[], set: ExplicitCounts): void {
  if (set.bounds.length === 0) return;
  set.counts.forEach((count, i) => {
    const first = i === 0 ? 0 : bounds.indexOf(set.bounds[i - 1]) + 1;
    const last = i < set.bounds.length ? bounds.indexOf(set.bounds[i]) : first;
    const lower = i === 0 ? Math.min(0, bounds[0]) : set.bounds[i - 1];
    const width = bounds[last] - lower;
    for (let cell = first; cell <= last; cell++) {
      const cellLower = cell === first ? lower : bounds[cell - 1];
      counts[cell] += first === last ? count : (count * (bounds[cell] - cellLower)) / width;
    }
  });
}

/** The buckets of all sets together, at the coarsest of their scales: halving a scale joins neighbouring buckets. */
export function exponentialBuckets(sets: readonly ExponentialCounts[]): Bucket[] {
  if (sets.length === 0) return [];
  const scale = sets.reduce((least, set) => Math.min(least, set.scale), Number.POSITIVE_INFINITY);
  const positive = new Map<number, number>();
  const negative = new Map<number, number>();
  for (const set of sets) {
    const shift = Math.min(31, set.scale - scale);
    addShifted(positive, set.positive, shift);
    addShifted(negative, set.negative, shift);
  }
  const threshold = sets.reduce((most, set) => Math.max(most, set.zeroThreshold), 0);
  const zeros = sets.reduce((sum, set) => sum + set.zeroCount, 0);
  const bound = (index: number) => 2 ** (index * 2 ** -scale);
  const ascending = [...positive].sort(([a], [b]) => a - b);
  const descending = [...negative].sort(([a], [b]) => b - a);
  return [
    ...descending.map(([i, count]) => exponential(-bound(i + 1), -bound(i), count)),
    {
      lower: negative.size > 0 ? -threshold : 0,
      upper: positive.size > 0 || negative.size === 0 ? threshold : 0,
      count: zeros,
      spread: 'linear',
    },
    ...ascending.map(([i, count]) => exponential(bound(i), bound(i + 1), count)),
  ];
}

function addShifted(into: Map<number, number>, counts: ReadonlyMap<number, number>, shift: number): void {
  for (const [index, count] of counts) {
    const joined = index >> shift;
    into.set(joined, (into.get(joined) ?? 0) + count);
  }
}

function exponential(lower: number, upper: number, count: number): Bucket {
  return { lower, upper, count, spread: 'exponential' };
}
