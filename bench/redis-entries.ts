import { randomBytes } from 'node:crypto';
import { Redis as Client } from 'ioredis';
import { BodyPool } from '../src/memory/body-pool.js';
import { RedisIngestQueue } from '../src/redis-queue/redis-ingest-queue.js';
import { type RedisServer, startRedis } from '../test/support/redis-server.js';
import { quantile } from './process-stats.js';
import type { Bench } from './queue.js';
import { redisCpuSeconds } from './queue-jobs.js';

const BACKLOG = 200_000;
const BACKLOG_BODY_BYTES = 500;
const BACKLOG_ADDERS = 256;
/** Bodies on their way at once. */
const MAX_BYTES = 20e6;
const SCOPE = { organizationId: 'organization', workspaceId: 'workspace', tenantId: 'tenant' };
const LIMITS = { maxBytes: 40 * 1024 * 1024, maxItems: 120_000, maxAgeMs: 0 };
const quiet = { error: () => undefined, warn: console.error, info: () => undefined };

/** The ingestion's queue in Redis, without HTTP and store, in this process. */
class EntryBench {
  private readonly bodies = new BodyPool();
  private readonly admin: Client;
  private readonly queue: RedisIngestQueue;

  constructor(private readonly redis: RedisServer) {
    this.admin = new Client(redis.url, { db: 2 });
    this.queue = new RedisIngestQueue({
      url: redis.url,
      maxBacklogBytes: 1e12,
      perSecond: 1e9,
      bodies: this.bodies,
      log: quiet,
    });
  }

  async ready(): Promise<void> {
    await this.queue.ready(10_000);
  }

  async close(): Promise<void> {
    await this.queue.close();
    this.admin.disconnect();
    await this.redis.stop();
  }

  /** One case, as the cells of its row. */
  async adds(bytes: number, adders: number, seconds: number): Promise<(string | number)[]> {
    await this.admin.flushall();
    const content = randomBytes(bytes);
    const latencies: number[] = [];
    const cpu = process.cpuUsage();
    const redisCpu = await redisCpuSeconds(this.admin);
    const startedAt = performance.now();
    const adder = async () => {
      while (performance.now() - startedAt < seconds * 1000) {
        const at = performance.now();
        await this.add(content);
        latencies.push(performance.now() - at);
      }
    };
    await Promise.all(Array.from({ length: adders }, adder));
    const elapsed = (performance.now() - startedAt) / 1000;
    const { user, system } = process.cpuUsage(cpu);
    const redisUs = ((await redisCpuSeconds(this.admin)) - redisCpu) * 1e6;
    const count = latencies.length;
    return [
      bytes,
      adders,
      Math.round(count / elapsed).toLocaleString('en'),
      Math.round((count * bytes) / elapsed / 1e6),
      quantile(latencies, 0.5).toFixed(2),
      quantile(latencies, 0.99).toFixed(2),
      Math.round((user + system) / count),
      Math.round(redisUs / count),
    ];
  }

  /** Adds a backlog and takes it out again; what came of it, in words. */
  async throughAndOut(): Promise<string> {
    await this.admin.flushall();
    const content = randomBytes(BACKLOG_BODY_BYTES);
    let left = BACKLOG;
    const adder = async () => {
      while (left-- > 0) await this.add(content);
    };
    const addingAt = performance.now();
    await Promise.all(Array.from({ length: BACKLOG_ADDERS }, adder));
    const addSeconds = (performance.now() - addingAt) / 1000;
    const memory = Number(/^used_memory:(\d+)/m.exec(await this.admin.info('memory'))?.[1]) / BACKLOG;
    const startedAt = performance.now();
    await this.takeAll();
    const seconds = (performance.now() - startedAt) / 1000;
    const rate = (count: number) => Math.round(count).toLocaleString('en');
    return `${rate(BACKLOG)} bodies of ${BACKLOG_BODY_BYTES} B: added in ${addSeconds.toFixed(1)} s (${rate(BACKLOG / addSeconds)}/s), then taken, read and done in ${seconds.toFixed(1)} s (${rate(BACKLOG / seconds)}/s); one after the other ${rate(BACKLOG / (addSeconds + seconds))}/s. Redis held ${Math.round(memory)} B for each.`;
  }

  private async takeAll(): Promise<void> {
    for (let entries = 0; entries < BACKLOG; ) {
      const batch = await this.queue.take('traces', LIMITS, new AbortController().signal);
      for (const body of await Promise.all(batch!.entries.map((entry) => entry.read())))
        this.bodies.give(body);
      entries += batch!.entries.length;
      await this.queue.beginInsert(batch!, 1);
      this.queue.done(batch!);
    }
    await this.queue.stats();
  }

  private add(content: Uint8Array): Promise<unknown> {
    return this.queue.add({
      signal: 'traces',
      scope: SCOPE,
      receivedAtMs: Date.now(),
      retentionDays: 30,
      items: 1,
      rejected: 0,
      body: this.bodies.copyOf(content),
      contentHash: randomBytes(16),
      note: '',
    });
  }
}

/** Adds a second and time to the acknowledgement by body size and concurrent adders, CPU of both sides; then a backlog is taken out. */
export async function benchEntries({ say, progress }: Bench, seconds: number): Promise<void> {
  const redis = await startRedis('--appendonly', 'yes', '--appendfsync', 'everysec');
  const bench = new EntryBench(redis);
  await bench.ready();
  say("\n## The ingestion's queue in Redis alone\n\nWithout HTTP and store; appendfsync everysec.\n");
  say('| bytes | adders | adds/s | MB/s | p50 ms | p99 ms | CPU us an add, here | in Redis |');
  say('|---|---|---|---|---|---|---|---|');
  await bench.adds(500, 64, seconds);
  for (const bytes of [500, 5_000, 50_000, 230_000])
    for (const adders of [1, 16, 64, 256])
      if (bytes * adders <= MAX_BYTES) {
        progress(`entries: ${bytes} bytes, ${adders} adders`);
        say(`| ${(await bench.adds(bytes, adders, seconds)).join(' | ')} |`);
      }
  progress(`entries: a backlog of ${BACKLOG}`);
  say(`\n${await bench.throughAndOut()}`);
  await bench.close();
}
