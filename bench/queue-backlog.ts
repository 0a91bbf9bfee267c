import { fork } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Redis as Client } from 'ioredis';
import { AppError } from '../src/errors.js';
import { BodyPool } from '../src/memory/body-pool.js';
import { DiskIngestQueue } from '../src/queue/disk-ingest-queue.js';
import { type RedisServer, startRedis } from '../test/support/redis-server.js';
import { residentBytes, sleep } from './process-stats.js';
import type { Bench } from './queue.js';
import { openOnDisk, openOnRedis, type Subject } from './queue-subjects.js';

const LOT = 1000;
/** Lots on their way at once. */
const ADDERS = 4;
const BODY_BYTES = 300;
const REFUSED_PAUSE_MS = 500;
const BODIES_AT_ONCE = 1000;
const SCOPE = { organizationId: 'organization', workspaceId: 'workspace', tenantId: 'tenant' };
const LIMITS = { maxBytes: 40 * 1024 * 1024, maxItems: 120_000, maxAgeMs: 0 };

type Driver = 'jobs-disk' | 'jobs-redis' | 'bodies-disk';
/** `fill` adds and ends as a crash would; `recover` opens what is there and works it off. */
type Step = 'fill' | 'recover';

/** What a recovering process says. */
interface Recovery {
  openSeconds: number;
  workSeconds: number;
  cpuSeconds: number;
  maxResidentBytes: number;
}

const openJobs = (driver: Driver, place: string): Promise<Subject> =>
  driver === 'jobs-disk' ? openOnDisk(place) : openOnRedis(place);
const bodies = new BodyPool();
const openBodies = (directory: string) =>
  DiskIngestQueue.open({ directory, maxBacklogBytes: Number.MAX_SAFE_INTEGER, bodies });

/** Runs one step in a process of its own, so that memory is that of the step alone. */
function run(driver: Driver, step: Step, place: string, count: number): Promise<Recovery | undefined> {
  return new Promise((resolve, reject) => {
    const child = fork(fileURLToPath(import.meta.url), [driver, step, place, String(count)]);
    const end = () => child.kill('SIGKILL');
    process.once('exit', end);
    let said: Recovery | undefined;
    child.once('message', (message) => (said = message as Recovery));
    child.once('exit', (code, signal) => {
      process.removeListener('exit', end);
      if (code === 0 || (step === 'fill' && signal === 'SIGKILL')) resolve(said);
      else reject(new Error(`${driver} ${step} ended with ${code ?? signal}`));
    });
  });
}

const HEAD =
  '| backlog | of | added in s | opened in s | worked off in s | a second | CPU s | resident at most | |\n|---|---|---|---|---|---|---|---|---|';

async function row(
  bench: Bench,
  name: string,
  driver: Driver,
  place: string,
  count: number,
  between: () => Promise<string>,
): Promise<void> {
  bench.progress(`backlog: ${name}: adding ${count}`);
  const startedAt = performance.now();
  await run(driver, 'fill', place, count);
  const added = (performance.now() - startedAt) / 1000;
  const more = await between();
  bench.progress(`backlog: ${name}: recovering`);
  const recovery = (await run(driver, 'recover', place, count))!;
  const { openSeconds, workSeconds, cpuSeconds, maxResidentBytes } = recovery;
  const rate = Math.round(count / (openSeconds + workSeconds)).toLocaleString('en');
  const cells = [name, count.toLocaleString('en'), added.toFixed(1), openSeconds.toFixed(1)];
  cells.push(workSeconds.toFixed(1), rate, cpuSeconds.toFixed(1));
  cells.push(`${(maxResidentBytes / 1e6).toFixed(0)} MB`, more);
  bench.say(`| ${cells.join(' | ')} |`);
}

/** Ends Redis at once and starts it; how long it reads its file, and its memory. */
async function crashRedis(redis: RedisServer): Promise<string> {
  await redis.kill();
  const startedAt = performance.now();
  await redis.start();
  const client = new Client(redis.url, { maxRetriesPerRequest: null });
  client.on('error', () => undefined);
  while ((await client.ping().catch(() => '')) !== 'PONG') await sleep(50);
  const seconds = (performance.now() - startedAt) / 1000;
  const pid = Number(/^process_id:(\d+)/m.exec(await client.info('server'))?.[1]);
  client.disconnect();
  return `Redis was killed, read its file in ${seconds.toFixed(1)} s, resident then ${(residentBytes(pid) / 1e6).toFixed(0)} MB`;
}

/** How long a backlog takes that a crash left behind: to be opened, and to be worked off. */
export async function benchBacklogs(bench: Bench, counts: Record<Driver, number>): Promise<void> {
  bench.say(
    `\n## Backlogs\n\nEmpty jobs, or request bodies of ${BODY_BYTES} B, are added by a process that is killed then; another one opens what is there and works it off: jobs with an empty handler, 10 at once, bodies taken in batches, read and done without a store. Memory and CPU are of that process.\n\n${HEAD}`,
  );
  const nothing = async () => '';
  for (const [name, driver] of [
    ['jobs on the journal', 'jobs-disk'],
    ["ingestion's journal", 'bodies-disk'],
  ] as const) {
    const directory = mkdtempSync(join(tmpdir(), 'tf-bench-backlog-'));
    await row(bench, name, driver, directory, counts[driver], nothing);
    rmSync(directory, { recursive: true, force: true });
  }
  const redis = await startRedis('--appendonly', 'yes', '--appendfsync', 'everysec');
  await row(bench, 'jobs in Redis', 'jobs-redis', redis.url, counts['jobs-redis'], () => crashRedis(redis));
  await redis.stop();
  bench.say(
    '\nBodies and jobs in Redis are fewer because adding them takes long; `--bodies 1000000 --redis-backlog 1000000` measures a million.',
  );
}

// ------------------------------------------------------------------------------------------------ in the child

/** A Redis that is slower than its limit on a busy machine refuses; what is refused is added again, as a caller would. */
async function addInAnyCase(subject: Subject, count: number): Promise<void> {
  for (;;) {
    try {
      await subject.add(count);
      return;
    } catch (error) {
      if (!(error instanceof AppError && error.code === 'UNAVAILABLE')) throw error;
      await sleep(REFUSED_PAUSE_MS);
    }
  }
}

async function fillJobs(driver: Driver, place: string, count: number): Promise<void> {
  const subject = await openJobs(driver, place);
  let left = count;
  const adder = async () => {
    for (; left > 0; ) {
      const lot = Math.min(LOT, left);
      left -= lot;
      await addInAnyCase(subject, lot);
    }
  };
  await Promise.all(Array.from({ length: ADDERS }, adder));
}

async function fillBodies(directory: string, count: number): Promise<void> {
  const queue = await openBodies(directory);
  const content = randomBytes(BODY_BYTES);
  const about = {
    signal: 'traces',
    scope: SCOPE,
    retentionDays: 30,
    items: 1,
    rejected: 0,
    note: '',
  } as const;
  let left = count;
  const adder = async () => {
    while (left-- > 0) {
      const entry = { receivedAtMs: Date.now(), body: bodies.copyOf(content), contentHash: randomBytes(16) };
      await queue.add({ ...about, ...entry });
    }
  };
  await Promise.all(Array.from({ length: BODIES_AT_ONCE }, adder));
}

async function takeBodies(queue: DiskIngestQueue, count: number): Promise<void> {
  for (let done = 0; done < count; ) {
    const batch = (await queue.take('traces', LIMITS, new AbortController().signal))!;
    for (const body of await Promise.all(batch.entries.map((entry) => entry.read()))) bodies.give(body);
    await queue.beginInsert(batch);
    queue.done(batch);
    done += batch.entries.length;
  }
}

async function recover(driver: Driver, place: string, count: number): Promise<Recovery> {
  const startedAt = performance.now();
  const queue = driver === 'bodies-disk' ? await openBodies(place) : await openJobs(driver, place);
  const openedAt = performance.now();
  await (queue instanceof DiskIngestQueue ? takeBodies(queue, count) : queue.workOff(count));
  const doneAt = performance.now();
  const { user, system } = process.cpuUsage();
  return {
    openSeconds: (openedAt - startedAt) / 1000,
    workSeconds: (doneAt - openedAt) / 1000,
    cpuSeconds: (user + system) / 1e6,
    maxResidentBytes: process.resourceUsage().maxRSS * 1024,
  };
}

const [, script, driver, step, place, count] = process.argv;
if (script === fileURLToPath(import.meta.url)) {
  if (step === 'fill') {
    await (driver === 'bodies-disk'
      ? fillBodies(place, Number(count))
      : fillJobs(driver as Driver, place, Number(count)));
    process.kill(process.pid, 'SIGKILL');
  }
  process.send!(await recover(driver as Driver, place, Number(count)), () => process.exit(0));
}
