import { randomBytes } from 'node:crypto';
import { Redis as Client } from 'ioredis';
import { BodyPool } from '../src/memory/body-pool.js';
import { RedisIngestQueue } from '../src/redis-queue/redis-ingest-queue.js';
import { startRedis } from '../test/support/redis-server.js';

/**
 * The ingestion queue in Redis alone, without HTTP and store, in this process and a Redis of its own: adds a second and time to the
 * acknowledgement by body size and concurrent adders, CPU of both; then a backlog is taken out again. Usage:
 *
 *     node dist/bench/redis-queue.js [seconds a case] [appendfsync: everysec, always]
 */
const seconds = Number(process.argv[2] ?? 2);
const fsync = process.argv[3] ?? 'everysec';
const BACKLOG = 200_000;
const SCOPE = { organizationId: 'organization', workspaceId: 'workspace', tenantId: 'tenant' };
const LIMITS = { maxBytes: 40 * 1024 * 1024, maxItems: 120_000, maxAgeMs: 0 };

const redis = await startRedis('--appendonly', 'yes', '--appendfsync', fsync);
const admin = new Client(redis.url, { db: 2 });
const bodies = new BodyPool();
const quiet = { error: () => undefined, warn: console.error, info: () => undefined };
const queue = new RedisIngestQueue({
  url: redis.url,
  maxBacklogBytes: 1e12,
  perSecond: 1e9,
  bodies,
  log: quiet,
});
await queue.ready(10_000);

async function redisCpuUs(): Promise<number> {
  const info = await admin.info('cpu');
  const of = (name: string) => Number(new RegExp(`^${name}:([\\d.]+)`, 'm').exec(info)?.[1] ?? 0);
  return (of('used_cpu_user') + of('used_cpu_sys')) * 1e6;
}

function add(content: Uint8Array): Promise<unknown> {
  return queue.add({
    signal: 'traces',
    scope: SCOPE,
    receivedAtMs: Date.now(),
    retentionDays: 30,
    items: 1,
    rejected: 0,
    body: bodies.copyOf(content),
    contentHash: randomBytes(16),
    note: '',
  });
}

async function measureAdds(bytes: number, adders: number): Promise<void> {
  await admin.flushall();
  const content = randomBytes(bytes);
  const latencies: number[] = [];
  const cpu = process.cpuUsage();
  const redisCpu = await redisCpuUs();
  const startedAt = performance.now();
  const adder = async () => {
    while (performance.now() - startedAt < seconds * 1000) {
      const at = performance.now();
      await add(content);
      latencies.push(performance.now() - at);
    }
  };
  await Promise.all(Array.from({ length: adders }, adder));
  const elapsed = (performance.now() - startedAt) / 1000;
  const { user, system } = process.cpuUsage(cpu);
  const redisUs = (await redisCpuUs()) - redisCpu;
  latencies.sort((a, b) => a - b);
  const adds = latencies.length;
  const at = (share: number) => latencies[Math.floor(adds * share)].toFixed(2);
  const cells = [
    bytes,
    adders,
    Math.round(adds / elapsed).toLocaleString('en'),
    Math.round((adds * bytes) / elapsed / 1e6),
    at(0.5),
    at(0.99),
    Math.round((user + system) / adds),
    Math.round(redisUs / adds),
  ];
  console.log(`| ${cells.join(' | ')} |`);
}

async function measureBacklog(bytes: number): Promise<void> {
  await admin.flushall();
  const content = randomBytes(bytes);
  let left = BACKLOG;
  const adder = async () => {
    while (left-- > 0) await add(content);
  };
  await Promise.all(Array.from({ length: 256 }, adder));
  const memory = Number(/^used_memory:(\d+)/m.exec(await admin.info('memory'))?.[1]) / BACKLOG;
  const startedAt = performance.now();
  let entries = 0;
  while (entries < BACKLOG) {
    const batch = await queue.take('traces', LIMITS, new AbortController().signal);
    for (const body of await Promise.all(batch!.entries.map((entry) => entry.read()))) bodies.give(body);
    entries += batch!.entries.length;
    await queue.beginInsert(batch!, 1);
    queue.done(batch!);
  }
  await queue.stats();
  const elapsed = (performance.now() - startedAt) / 1000;
  const rate = Math.round(BACKLOG / elapsed).toLocaleString('en');
  console.log(
    `\nA backlog of ${BACKLOG} bodies of ${bytes} B, taken, read and done: ${elapsed.toFixed(1)} s, ${rate}/s; Redis held ${Math.round(memory)} B for each.`,
  );
}

console.log(`appendfsync ${fsync}\n`);
console.log('| bytes | adders | adds/s | MB/s | p50 ms | p99 ms | CPU us an add, here | in Redis |');
console.log('|---|---|---|---|---|---|---|---|');
for (const bytes of [500, 5_000, 50_000, 230_000])
  for (const adders of [1, 16, 64, 256]) if (bytes * adders <= 20e6) await measureAdds(bytes, adders);
await measureBacklog(500);
await queue.close();
admin.disconnect();
await redis.stop();
