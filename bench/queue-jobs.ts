import { Redis as Client } from 'ioredis';
import { startRedis } from '../test/support/redis-server.js';
import { quantile } from './process-stats.js';
import type { Bench } from './queue.js';
import { type Subject, WAYS, type Way, WORKERS } from './queue-subjects.js';

/** Callers that add one job each, and jobs of one call. */
const ADDERS = 50;
const LOT = 50;

interface Cost {
  perSecond: number;
  /** Microseconds of CPU for each job: of this process, and of Redis. */
  cpuUs: number;
  redisUs: number;
}
const STEPS = ['added one by one', `added by ${LOT}`, 'done'] as const;
type Costs = Record<(typeof STEPS)[number], Cost>;

/** CPU seconds that a Redis has used. */
export async function redisCpuSeconds(admin: Client): Promise<number> {
  const info = await admin.info('cpu');
  const of = (name: string) => Number(new RegExp(`^${name}:([\\d.]+)`, 'm').exec(info)?.[1] ?? 0);
  return of('used_cpu_user') + of('used_cpu_sys');
}

async function costOf(admin: Client, count: number, work: () => Promise<unknown>): Promise<Cost> {
  const redisBefore = await redisCpuSeconds(admin);
  const cpuBefore = process.cpuUsage();
  const startedAt = performance.now();
  await work();
  const seconds = (performance.now() - startedAt) / 1000;
  const { user, system } = process.cpuUsage(cpuBefore);
  const redisUs = ((await redisCpuSeconds(admin)) - redisBefore) * 1e6;
  return { perSecond: count / seconds, cpuUs: (user + system) / count, redisUs: redisUs / count };
}

async function addOneByOne(subject: Subject, count: number): Promise<void> {
  let left = count;
  const adder = async () => {
    while (left-- > 0) await subject.add(1);
  };
  await Promise.all(Array.from({ length: ADDERS }, adder));
}

async function addInLots(subject: Subject, count: number): Promise<void> {
  for (let left = count; left > 0; left -= LOT) await subject.add(Math.min(left, LOT));
}

async function measure(way: Way, redisUrl: string, admin: Client, count: number): Promise<Costs> {
  const fresh = async <T>(use: (subject: Subject) => Promise<T>): Promise<T> => {
    await admin.flushall();
    const subject = await way.open(redisUrl);
    try {
      return await use(subject);
    } finally {
      await subject.close();
    }
  };
  const lots = await fresh((subject) => costOf(admin, count, () => addInLots(subject, count)));
  return fresh(async (subject) => {
    const single = await costOf(admin, count, () => addOneByOne(subject, count));
    const done = await costOf(admin, count, () => subject.workOff(count));
    return { 'added one by one': single, [`added by ${LOT}`]: lots, done } as Costs;
  });
}

const median = (values: number[]) => quantile(values, 0.5);

/** Empty jobs added and done, all ways in turn, several rounds; the first one, for compiling, is not counted. */
export async function benchJobs({ say, progress }: Bench, count: number, rounds: number): Promise<void> {
  const redis = await startRedis('--appendonly', 'yes', '--appendfsync', 'everysec');
  const admin = new Client(redis.url);
  const results = WAYS.map((): Costs[] => []);
  for (let round = 0; round <= rounds; round++) {
    progress(`jobs: round ${round} of ${rounds}`);
    for (let turn = 0; turn < WAYS.length; turn++) {
      // Nobody goes first each time.
      const index = (round + turn) % WAYS.length;
      const costs = await measure(WAYS[index], redis.url, admin, round === 0 ? Math.ceil(count / 4) : count);
      if (round > 0) results[index].push(costs);
    }
  }
  admin.disconnect();
  await redis.stop();
  say(
    `\n## Empty jobs\n\n${rounds} rounds of ${count} jobs each way, in turn, after one for compiling; medians. Redis with appendfsync everysec. One by one: ${ADDERS} callers at once; done: ${WORKERS} at once. The relations are medians of each round's own. CPU is that of the whole process, adding or working, and of Redis.`,
  );
  for (const step of STEPS) {
    say(
      `\n| ${step} | jobs/s | to BullMQ bare | to BullMQ, same options | CPU us a job | in Redis |\n|---|---|---|---|---|---|`,
    );
    for (const [index, { name, isOnRedis }] of WAYS.entries()) {
      const of = (pick: (cost: Cost, round: number) => number) =>
        median(results[index].map((costs, round) => pick(costs[step], round)));
      const to = (other: number) =>
        of(({ perSecond }, round) => perSecond / results[other][round][step].perSecond).toFixed(2);
      const cells = [
        name,
        Math.round(of(({ perSecond }) => perSecond)).toLocaleString('en'),
        to(0),
        to(1),
        of(({ cpuUs }) => cpuUs).toFixed(0),
        isOnRedis ? of(({ redisUs }) => redisUs).toFixed(0) : '-',
      ];
      say(`| ${cells.join(' | ')} |`);
    }
  }
}
