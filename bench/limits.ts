import { setTimeout as sleep } from 'node:timers/promises';
import pino from 'pino';
import { openRedis } from '../src/connections/redis.js';
import { RedisBuckets } from '../src/connections/redis-buckets.js';
import { MemoryBuckets } from '../src/edge/memory-buckets.js';
import type { Principal } from '../src/edge/principal.js';
import { RateLimiter } from '../src/edge/rate-limiter.js';
import { TenantQuotas } from '../src/tenants/tenant-quotas.js';
import { startRedis } from '../test/support/redis-server.js';

/** What a request costs at the edge: the limiter with its buckets in memory and in Redis, the quota. `npm run bench:limits` */

const ROUNDS = 2_000_000;
const REDIS_ROUNDS = 20_000;
const log = pino({ level: 'silent' });
const settings = {
  THROTTLE_LIMIT: 100,
  THROTTLE_TTL: 60_000,
  THROTTLE_INGESTION_LIMIT: 1000,
  THROTTLE_INGESTION_TTL: 60_000,
};
const scope = { organizationId: 'o', workspaceId: 'w', tenantId: crypto.randomUUID() };
const keyOf = (id: string): Principal => ({ kind: 'key', id, name: id, scope, permissions: new Set() });

/** The best of five rounds, ns per call: the others were disturbed. */
function measure(name: string, call: (n: number) => unknown): void {
  const times: number[] = [];
  for (let round = 0; round < 5; round++) {
    const startedAt = performance.now();
    for (let n = 0; n < ROUNDS; n++) call(n);
    times.push(((performance.now() - startedAt) * 1e6) / ROUNDS);
  }
  console.log(
    `${name.padEnd(52)}${Math.min(...times)
      .toFixed(0)
      .padStart(8)} ns`,
  );
}

async function measureRedis(limiter: RateLimiter, concurrency: number): Promise<void> {
  const key = keyOf(crypto.randomUUID());
  const latencies: number[] = [];
  const startedAt = performance.now();
  const worker = async () => {
    for (let n = 0; n < REDIS_ROUNDS / concurrency; n++) {
      const before = performance.now();
      await limiter.take('ingestion', key, undefined);
      latencies.push(performance.now() - before);
    }
  };
  await Promise.all(Array.from({ length: concurrency }, worker));
  const seconds = (performance.now() - startedAt) / 1000;
  latencies.sort((a, b) => a - b);
  const at = (share: number) => latencies[Math.floor(latencies.length * share)].toFixed(2);
  const rate = Math.round(latencies.length / seconds);
  console.log(`Redis, ${concurrency} at a time: ${rate}/s, p50 ${at(0.5)} ms, p99 ${at(0.99)} ms`);
}

const memory = new RateLimiter(settings, new MemoryBuckets(), undefined, log);
const one = keyOf(crypto.randomUUID());
const many = Array.from({ length: 10_000 }, () => keyOf(crypto.randomUUID()));
measure('memory, one key', () => memory.take('ingestion', one, '10.0.0.1'));
measure('memory, 10,000 keys in turn', (n) => memory.take('ingestion', many[n % many.length], '10.0.0.1'));
measure('memory, one IPv4 address', () => memory.take('ingestion', undefined, '10.0.0.1'));
measure('memory, one IPv6 address', () => memory.take('ingestion', undefined, '2001:db8::1:2:3'));
measure('memory, always another IPv4 address', (n) =>
  memory.take('ingestion', undefined, `10.${n >> 16}.${(n >> 8) & 255}.${n & 255}`),
);

const row = { id: scope.tenantId, items_per_day: '1000000000', bytes_per_day: null, items: '0', bytes: '0' };
const quotas = new TenantQuotas({ query: async <T>() => [row] as T }, log);
await quotas.assertLeft(scope);
measure('quota: check and count', () => {
  quotas.assertLeft(scope);
  quotas.count(scope, 1, 1);
});
await quotas.onModuleDestroy();

const server = await startRedis();
const redis = openRedis(server.url, { database: 2, log });
while (!redis.isUp) await sleep(10);
const shared = new RateLimiter(settings, new MemoryBuckets(), new RedisBuckets(redis), log);
for (const concurrency of [1, 50]) await measureRedis(shared, concurrency);
redis.close();
await server.stop();
