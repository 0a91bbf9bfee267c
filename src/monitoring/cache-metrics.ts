import { Counter, Gauge, type Registry } from 'prom-client';
import type { CacheService } from '../cache/cache.service.js';
import type { CacheReport } from '../cache/cache-stats.js';

type Sample = [labels: Record<string, string>, value: number];
type Metric = [name: string, help: string, labels: string[], read: (stats: CacheReport) => Sample[]];

const one = (value: number): Sample[] => [[{}, value]];
const by = (label: string, counts: Record<string, number>, more: Record<string, string> = {}): Sample[] =>
  Object.entries(counts).map(([name, count]) => [{ ...more, [label]: name }, count]);

const COUNTERS: Metric[] = [
  [
    'answers_total',
    'Answers given, by where they came from.',
    ['prefix', 'source'],
    ({ prefixes }) =>
      Object.entries(prefixes).flatMap(([prefix, { l1Hits, l2Hits, misses, stale }]) =>
        by('source', { L1: l1Hits, L2: l2Hits, miss: misses, stale }, { prefix }),
      ),
  ],
  ['evictions_total', 'Values in memory that had to go for others.', [], ({ l1 }) => one(l1.evictions)],
  [
    'not_kept_total',
    'Values that were served but not kept.',
    ['reason'],
    ({ uncacheable, outdated }) => by('reason', { ...uncacheable, outdated }),
  ],
  [
    'invalidations_total',
    'Asked for here (own), and heard from other instances.',
    ['from'],
    ({ invalidations }) => by('from', invalidations),
  ],
  [
    'computed_total',
    'Values computed.',
    ['result'],
    ({ computed: { count, failed } }) => by('result', { ok: count - failed, failed }),
  ],
  [
    'computing_seconds_total',
    'Time that computing them took.',
    [],
    ({ computed }) => one(computed.sumMs / 1000),
  ],
  [
    'redis_requests_total',
    'Questions to Redis, failed ones included.',
    [],
    ({ l2Latency }) => one(l2Latency.count),
  ],
  ['redis_errors_total', 'Those that failed.', [], ({ l2 }) => one(l2?.errors ?? 0)],
  ['redis_seconds_total', 'Time that they took.', [], ({ l2Latency }) => one(l2Latency.sumMs / 1000)],
];

const GAUGES: Metric[] = [
  ['entries', 'Values in memory.', [], ({ l1 }) => one(l1.entries)],
  ['bytes', 'Memory that they take, about.', [], ({ l1 }) => one(l1.bytes)],
  ['redis_up', '1: Redis answers; missing without Redis.', [], ({ l2 }) => (l2 ? one(Number(l2.isUp)) : [])],
];

/** The cache's figures; read from it when they are asked for, so a hit costs nothing more. */
export function registerCacheMetrics(registry: Registry, cache: Pick<CacheService, 'getStats'>): void {
  const about = (name: string, help: string, labelNames: string[]) => {
    return { name: `telemetryflow_cache_${name}`, help, labelNames, registers: [registry] };
  };
  for (const [name, help, labels, read] of COUNTERS)
    new Counter({
      ...about(name, help, labels),
      collect() {
        this.reset();
        for (const [sample, value] of read(cache.getStats())) this.inc(sample, value);
      },
    });
  for (const [name, help, labels, read] of GAUGES)
    new Gauge({
      ...about(name, help, labels),
      collect() {
        const samples = read(cache.getStats());
        if (samples.length === 0) this.remove();
        for (const [sample, value] of samples) this.set(sample, value);
      },
    });
}
