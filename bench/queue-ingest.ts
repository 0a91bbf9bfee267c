import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Redis as Client } from 'ioredis';
import { ClickHouseHttp } from '../test/support/clickhouse-http.js';
import { startPostgres } from '../test/support/postgres-server.js';
import { startRedis } from '../test/support/redis-server.js';
import { WorkerProcess } from '../test/support/worker.js';
import { prepareLoad, type ServerUnderTest, startBare, startServer } from './children.js';
import type { LoadOrder } from './load-client.js';
import { cpuSeconds, residentBytes, sleep } from './process-stats.js';
import type { Bench } from './queue.js';

const POLL_MS = 20;
const MAX_DRAIN_MS = 300_000;

type Case = Pick<LoadOrder, 'itemsPerBody' | 'bodies' | 'connections' | 'transport' | 'sessions'> & {
  name: string;
};
const cases = (requests: number): Case[] => [
  { name: 'HTTP, 1 span', itemsPerBody: 1, bodies: requests, connections: 128, transport: 'bare' },
  {
    name: 'gRPC, 1 span',
    itemsPerBody: 1,
    bodies: requests,
    connections: 128,
    transport: 'grpc',
    sessions: 4,
  },
  { name: 'HTTP, 1,000 spans', itemsPerBody: 1000, bodies: Math.ceil(requests / 75), connections: 16 },
];

/** One API and one worker process on servers of their own. */
class Installation {
  private constructor(
    private readonly parts: {
      folder: string;
      postgres: Awaited<ReturnType<typeof startPostgres>>;
      redis: Awaited<ReturnType<typeof startRedis>>;
      clickhouse: ClickHouseHttp;
      api: ServerUnderTest;
      worker: WorkerProcess;
      redisPid: number;
    },
  ) {}

  static async start(): Promise<Installation> {
    const folder = mkdtempSync(join(tmpdir(), 'tf-bench-queue-'));
    const [postgres, redis, clickhouse] = await Promise.all([
      startPostgres(),
      startRedis('--appendonly', 'yes', '--appendfsync', 'everysec'),
      ClickHouseHttp.start(join(folder, 'clickhouse')),
    ]);
    const env = { DATABASE_URL: postgres.url, REDIS_URL: redis.url, CLICKHOUSE_URL: clickhouse.url };
    const api = await startServer({ ...env, TF_ROLES: 'api' });
    const quiet = { LOG_LEVEL: 'warn', CANARY_INTERVAL_MS: '0' };
    const worker = await WorkerProcess.start(join(folder, 'worker'), { ...env, ...quiet });
    const admin = new Client(redis.url);
    const redisPid = Number(/^process_id:(\d+)/m.exec(await admin.info('server'))?.[1]);
    admin.disconnect();
    return new Installation({ folder, postgres, redis, clickhouse, api, worker, redisPid });
  }

  get api(): ServerUnderTest {
    return this.parts.api;
  }

  get pids(): Record<'API' | 'worker' | 'Redis' | 'ClickHouse', number> {
    const { api, worker, redisPid, clickhouse } = this.parts;
    return { API: api.pid, worker: worker.program.child.pid!, Redis: redisPid, ClickHouse: clickhouse.pid! };
  }

  async rows(): Promise<number> {
    const url = `${this.parts.clickhouse.url}/?database=telemetryflow`;
    const answer = await fetch(url, { method: 'POST', body: 'SELECT count() FROM telemetry_traces' });
    return Number(await answer.text());
  }

  async stop(): Promise<void> {
    const { api, worker, clickhouse, postgres, redis, folder } = this.parts;
    await api.stop();
    await worker.stop();
    await clickhouse.stop();
    await Promise.all([postgres.stop(), redis.stop()]);
    for (const directory of [folder, api.dataDir]) rmSync(directory, { recursive: true, force: true });
  }
}

let seed = 1;
async function measure(installation: Installation, load: Case) {
  const { api, pids } = installation;
  const { name: _, ...order } = load;
  const url = load.transport === 'grpc' ? `http://${api.otlpGrpc}` : `${api.otlp}/v1/traces`;
  seed += 100_000;
  const client = await prepareLoad({ ...order, url, key: api.key, signal: 'traces', gzip: false, seed });
  const cpu = () => Object.values(pids).map(cpuSeconds);
  const rowsBefore = await installation.rows();
  const cpuBefore = cpu();
  const startedAt = performance.now();
  const report = await client.go();
  const deadline = performance.now() + MAX_DRAIN_MS;
  while ((await installation.rows()) < rowsBefore + report.items) {
    if (performance.now() > deadline) throw new Error(`${load.name}: not everything acknowledged is stored`);
    await sleep(POLL_MS);
  }
  const seconds = (performance.now() - startedAt) / 1000;
  const used = cpu().map((value, index) => value - cpuBefore[index]);
  return { report, seconds, used };
}

const shown = (value: number) => Math.round(value).toLocaleString('en');

/** Requests from their sending until their rows are seen, with the CPU of each process. */
export async function benchIngest({ say, progress }: Bench, requests: number): Promise<void> {
  progress('ingest: starting PostgreSQL, Redis, ClickHouse, an API and a worker process');
  const installation = await Installation.start();
  const names = Object.keys(installation.pids);
  say(
    `\n## Ingestion over Redis\n\nOne API and one worker process, Redis with appendfsync everysec, ClickHouse (the engine in a process of its own, by HTTP), PostgreSQL; the sender is a process on the same machine. The seconds go from the first request until the last row is seen; CPU by process, in microseconds a request.\n`,
  );
  say(
    `| requests | sent | answered/s | requests/s to the row | spans/s | ack p50 ms | p99 ms | sender | ${names.join(' | ')} | all but the sender |`,
  );
  say(`|${'---|'.repeat(names.length + 9)}`);
  for (const load of cases(requests)) {
    progress(`ingest: ${load.name}, warming up`);
    // A server that has run for a while: the first 20,000 requests pay for compiling.
    await measure(installation, { ...load, bodies: Math.ceil(load.bodies / 2) });
    progress(`ingest: ${load.name}, ${load.bodies} requests`);
    const { report, seconds, used } = await measure(installation, load);
    const accepted = report.items / load.itemsPerBody;
    const us = (cpu: number) => shown((cpu * 1e6) / accepted);
    const cells = [
      load.name,
      shown(load.bodies),
      shown(accepted / report.seconds),
      shown(accepted / seconds),
    ];
    cells.push(shown(report.items / seconds), report.ackP50Ms.toFixed(1), report.ackP99Ms.toFixed(1));
    cells.push(us(report.cpuSeconds), ...used.map(us), us(used.reduce((sum, cpu) => sum + cpu, 0)));
    const refused = accepted < load.bodies ? ` ${JSON.stringify(report.statuses)}` : '';
    say(`| ${cells.join(' | ')} |${refused}`);
  }
  const memory = Object.entries(installation.pids).map(
    ([name, pid]) => `${name} ${(residentBytes(pid) / 1e6).toFixed(0)} MB`,
  );
  say(`\nResident at the end: ${memory.join(', ')}.`);
  await installation.stop();
  await benchBareHttp({ say, progress }, cases(requests)[0]);
}

/** The same requests to a server that does nothing with them: what the machine has left for ours. */
async function benchBareHttp({ say, progress }: Bench, { name, ...order }: Case): Promise<void> {
  progress('ingest: a server that only answers');
  const server = await startBare();
  const send = async (bodies: number) => {
    seed += 100_000;
    const url = `${server.otlp}/v1/traces`;
    const all = { ...order, bodies, url, key: 'none', signal: 'traces', gzip: false, seed } as const;
    return (await prepareLoad(all)).go();
  };
  await send(Math.ceil(order.bodies / 10));
  const before = cpuSeconds(server.pid);
  const report = await send(order.bodies);
  const us = (cpu: number) => shown((cpu * 1e6) / order.bodies);
  say(
    `\nThe limit of the machine: ${name}, from the same sender to a \`node:http\` server that reads the body and answers 202: ${shown(order.bodies / report.seconds)} answered/s, ${us(report.cpuSeconds)} us of CPU in the sender, ${us(cpuSeconds(server.pid) - before)} in the server.`,
  );
  await server.stop();
  rmSync(server.dataDir, { recursive: true, force: true });
}
