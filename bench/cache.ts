import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { Redis as Client } from 'ioredis';
import { PACKAGE_ROOT } from '../src/version.js';
import { startRedis } from '../test/support/redis-server.js';
import { openBento, openCacheManager, openOurs, type Rival, TAGGED } from './cache-rivals.js';
import { evictionTable } from './eviction.js';

/** The cache against bentocache and cache-manager with the same tiers, in one run. `npm run bench:cache` */

const ROUNDS = 5;
const WARM_UP = 5_000;
const L1_HITS = 200_000;
const L2_HITS = 2_000;
const MISSES = 2_000;
const DROPPED = 100_000;
/** One way to Redis and back, too short to be measured once: again and again, with what they drop left where it is. */
const SHORT_DROPS: ReadonlySet<string> = new Set(['version', 'tag']);
const SHORT_DROP_TIMES = 11;
const DATABASES: Record<string, number> = { 'this cache': 1, bentocache: 3, 'cache-manager': 4 };
const OPEN = [openOurs, openBento, openCacheManager];

/** About 1 KB as JSON: the answer to a small query. */
const value = Array.from({ length: 8 }, (_, n) => ({
  service_name: `checkout-${n}`,
  last_seen: 1_700_000_000_000 + n,
  metric_count: n * 1000,
  error_rate: n / 7,
  labels: { host: `host-${n}`, region: 'eu-central' },
}));
const compute = async () => value;
const forbidden = async () => {
  throw new Error('computed though it is there');
};

type Figures = Map<string, Map<string, number[]>>;
const figures: Figures = new Map();
function note(measure: string, name: string, figure: number): void {
  const byName = figures.get(measure) ?? new Map<string, number[]>();
  figures.set(measure, byName.set(name, [...(byName.get(name) ?? []), figure]));
}

async function perSecond(count: number, concurrency: number, call: (n: number) => Promise<unknown>) {
  let next = 0;
  const startedAt = performance.now();
  const worker = async () => {
    while (next < count) await call(next++);
  };
  await Promise.all(Array.from({ length: concurrency }, worker));
  return (count / (performance.now() - startedAt)) * 1000;
}

async function l1Hit(rival: Rival): Promise<void> {
  for (let n = 0; n < 100; n++) await rival.wrap(`l1-${n}`, compute);
  const ids = Array.from({ length: 100 }, (_, n) => `l1-${n}`);
  const inTurn = async (count: number) => {
    const startedAt = performance.now();
    for (let n = 0; n < count; n++) await rival.wrap(ids[n % 100], forbidden);
    return (count / (performance.now() - startedAt)) * 1000;
  };
  await inTurn(20_000);
  note('L1 hit, per second', rival.name, await inTurn(L1_HITS));
}

/** A value may be with its caller before it is in Redis: until the last one is there. */
async function untilStored(rival: Rival, client: Client, id: string): Promise<void> {
  while ((await client.exists(rival.redisKey(id))) === 0) await sleep(1);
}

async function l2Hit(reader: Rival, writer: Rival, client: Client, round: number): Promise<void> {
  for (const concurrency of [1, 50]) {
    const id = (n: number) => `l2-${round}-${concurrency}-${n}`;
    await perSecond(L2_HITS, 50, (n) => writer.wrap(id(n), compute));
    for (let n = 0; n < L2_HITS; n++) await untilStored(writer, client, id(n));
    const rate = await perSecond(L2_HITS, concurrency, (n) => reader.wrap(id(n), forbidden));
    note(`L2 hit, ${concurrency} at a time, per second`, reader.name, rate);
  }
}

/** The time goes on until all values are in Redis. */
async function wrapMiss(rival: Rival, client: Client, round: number): Promise<void> {
  for (const concurrency of [1, 50]) {
    const id = (n: number) => `miss-${round}-${concurrency}-${n}`;
    const startedAt = performance.now();
    await perSecond(MISSES, concurrency, (n) => rival.wrap(id(n), compute));
    for (let n = MISSES - concurrency; n < MISSES; n++) await untilStored(rival, client, id(n));
    const rate = (MISSES / (performance.now() - startedAt)) * 1000;
    note(`wrap miss, ${concurrency} at a time, until stored, per second`, rival.name, rate);
  }
}

/** So that none pays, as the first one, for code that is not compiled yet. */
async function warmUp(url: string): Promise<void> {
  for (const open of OPEN) {
    const [reader, writer] = [await open(url), await open(url)];
    for (const rival of [writer, reader])
      for (const concurrency of [1, 50])
        await perSecond(WARM_UP, concurrency, (n) => rival.wrap(`warm-${concurrency}-${n}`, compute));
    await reader.close();
    await writer.close();
  }
}

async function stampede(rivals: Rival[], where: string, round: number): Promise<void> {
  let computed = 0;
  const slow = async () => {
    computed++;
    await sleep(50);
    return value;
  };
  const startedAt = performance.now();
  const call = (_: unknown, n: number) => rivals[n % rivals.length].wrap(`stampede-${where}-${round}`, slow);
  await Promise.all(Array.from({ length: 1000 }, call));
  note(`stampede of 1,000 ${where}, source of 50 ms: ms`, rivals[0].name, performance.now() - startedAt);
  note(`stampede of 1,000 ${where}: computed, times`, rivals[0].name, computed);
}

const COPY = `for n = tonumber(ARGV[1]), tonumber(ARGV[2]) do redis.call('SET', KEYS[1] .. n, ARGV[3], 'PX', 300000) end`;

/** Fills Redis with copies of one stored value, made there: to send each would take most of the benchmark's time. */
async function fill(rival: Rival, client: Client, idOf: (n: number) => string): Promise<void> {
  await client.flushdb();
  await rival.wrap(idOf(0), compute);
  await untilStored(rival, client, idOf(0));
  const stored = await client.get(rival.redisKey(idOf(0)));
  if (stored === null) throw new Error(`${rival.name} keeps its values elsewhere`);
  const withoutNumber = rival.redisKey(idOf(0)).slice(0, -1);
  for (let n = 1; n < DROPPED; n += 1000)
    await client.eval(COPY, 1, withoutNumber, n, Math.min(n + 999, DROPPED - 1), stored);
}

async function drop(rival: Rival, client: Client, round: number): Promise<void> {
  for (const [way, dropAll] of Object.entries(rival.drop)) {
    const idOf = (n: number) => `${TAGGED}-${way}-${round}-${n}`;
    await fill(rival, client, idOf);
    await rival.wrap(idOf(777), forbidden);
    for (let time = 0; time < (SHORT_DROPS.has(way) ? SHORT_DROP_TIMES : 1); time++) {
      await sleep(5);
      const startedAt = performance.now();
      await dropAll();
      note(`drop 100,000 keys: ${rival.name}, ${way}, ms`, rival.name, performance.now() - startedAt);
      await areDropped(rival, way, [0, 777, DROPPED - 1].map(idOf));
    }
  }
}

/** They are there again afterwards. */
async function areDropped(rival: Rival, way: string, ids: string[]): Promise<void> {
  for (const id of ids) {
    let isComputed = false;
    await rival.wrap(id, async () => {
      isComputed = true;
      return value;
    });
    if (!isComputed) throw new Error(`${rival.name} still has ${id} after dropping ${way}`);
  }
}

function median(values: number[]): number {
  return values.toSorted((a, b) => a - b)[values.length >> 1];
}

const shown = (figure: number | undefined) =>
  figure === undefined ? '' : figure.toLocaleString('en', { maximumFractionDigits: figure < 100 ? 2 : 0 });

function report(): string {
  const names = Object.keys(DATABASES);
  const lines = [`| | ${names.join(' | ')} |`, '|---|---|---|---|'];
  for (const [measure, byName] of figures) {
    const cells = names.map((name) => (byName.has(name) ? shown(median(byName.get(name)!)) : ''));
    lines.push(`| ${measure} | ${cells.join(' | ')} |`);
  }
  const eviction = evictionTable().map((row) => `| ${row.join(' | ')} |`);
  return [
    '# The cache against others',
    '',
    `\`npm run bench:cache\`, ${new Date().toISOString().slice(0, 10)}, Node ${process.versions.node}, two shared cores, Redis on the same machine. Medians of ${ROUNDS} rounds in one run, the rivals in turn.`,
    'Each with memory of 1,000 entries in front of Redis, values as they are (not serialised) in memory, a value of about 1 KB; bentocache with its bus.',
    '',
    ...lines,
    '',
    'Hit rates of ways to choose what has to go, 1,000 entries, 400,000 requests, the same for all:',
    '',
    '| Trace | FIFO | LRU | SIEVE (ours) |',
    '|---|---|---|---|',
    ...eviction,
    '',
  ].join('\n');
}

const server = await startRedis();
await warmUp(server.url);
for (let round = 0; round < ROUNDS; round++)
  for (const open of OPEN) {
    const [rival, other] = [await open(server.url), await open(server.url)];
    const client = new Client(server.url, { db: DATABASES[rival.name] });
    await client.flushdb();
    await l1Hit(rival);
    await l2Hit(rival, other, client, round);
    await wrapMiss(rival, client, round);
    await stampede([rival], 'in one process', round);
    await stampede([rival, other], 'on two instances', round);
    await drop(rival, client, round);
    client.disconnect();
    await rival.close();
    await other.close();
    console.error(`round ${round + 1}: ${rival.name}`);
  }
await server.stop();
const text = report();
writeFileSync(join(PACKAGE_ROOT, 'bench/results/cache.md'), text);
console.log(text);
process.exit(0);
