import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Queue, Worker, type WorkerOptions } from 'bullmq';
import { z } from 'zod';
import { DiskJobQueues } from '../src/disk-jobs/disk-jobs.js';
import { BullMqJobs } from '../src/jobs/bullmq-jobs.js';
import type { JobQueue, JobQueues } from '../src/jobs/job-queue.js';
import { type AllQueueNumbers, QUEUE_NAMES, type QueueNumbers } from '../src/queue-numbers.js';
import { sleep } from './process-stats.js';

/** Jobs at once. */
export const WORKERS = 10;
const POLL_MS = 5;

/** As the program's queues are by default, but for the limit of starts a second, which would be all that is measured. */
export const NUMBERS: QueueNumbers = {
  priority: 2,
  workers: WORKERS,
  perSecond: 1_000_000,
  tries: 3,
  firstBackoffMs: 1000,
  keepDone: 100,
  keepDoneMs: 3_600_000,
  keepFailed: 500,
  keepFailedMs: 24 * 3_600_000,
};
const ALL_NUMBERS = Object.fromEntries(
  QUEUE_NAMES.map((name) => [name, NUMBERS]),
) as unknown as AllQueueNumbers;
export const EMPTY_JOBS = { name: 'cleanup', payload: z.strictObject({}) } satisfies JobQueue<
  Record<string, never>
>;

/** A way to have jobs done, opened on nothing and used once. */
export interface Subject {
  add(count: number): Promise<unknown>;
  /** Begins to work; resolves when so many are done and that is noted. */
  workOff(count: number): Promise<void>;
  close(): Promise<void>;
}

export interface Way {
  name: string;
  isOnRedis: boolean;
  open(redisUrl: string): Promise<Subject>;
}

/** The program's own queues, whatever they are on. */
function ownSubject(jobs: JobQueues): Subject {
  return {
    add: (count) =>
      jobs.addAll(
        EMPTY_JOBS,
        Array.from({ length: count }, () => ({ payload: {} })),
      ),
    workOff: async (count) => {
      let handled = 0;
      jobs.work(EMPTY_JOBS, async () => void handled++);
      while (handled < count || (await jobs.stats(EMPTY_JOBS.name)).completed < count) await sleep(POLL_MS);
    },
    close: () => jobs.close(1000),
  };
}

export async function openOnDisk(directory: string): Promise<Subject> {
  return ownSubject(await DiskJobQueues.open({ directory, numbers: ALL_NUMBERS }));
}

async function openOnNewDisk(): Promise<Subject> {
  const directory = mkdtempSync(join(tmpdir(), 'tf-bench-jobs-'));
  const subject = await openOnDisk(directory);
  const remove = () => rmSync(directory, { recursive: true, force: true });
  return { ...subject, close: () => subject.close().then(remove) };
}

const quiet = { info: () => undefined, warn: console.error, error: console.error };

export async function openOnRedis(url: string): Promise<Subject> {
  return ownSubject(await BullMqJobs.open({ url, database: 2, numbers: ALL_NUMBERS, log: quiet }));
}

/** BullMQ itself, with nothing of ours. */
function openBare(url: string, job: object, worker: Partial<WorkerOptions>): Subject {
  const connection = { url: `${url}/2`, maxRetriesPerRequest: null };
  const queue = new Queue('bare', { connection });
  let working: Worker | undefined;
  const one = { name: 'bare', data: {}, opts: job };
  return {
    add: (count) =>
      count === 1
        ? queue.add(one.name, one.data, one.opts)
        : queue.addBulk(Array.from({ length: count }, () => one)),
    workOff: (count) =>
      new Promise((resolve) => {
        let done = 0;
        const options = { connection, concurrency: WORKERS, removeOnComplete: { count: 100 }, ...worker };
        working = new Worker('bare', async () => undefined, options);
        working.on('completed', () => {
          if (++done === count) resolve();
        });
      }),
    close: async () => {
      await working?.close();
      await queue.close();
    },
  };
}

const { priority, tries, firstBackoffMs, keepDone, keepDoneMs, keepFailed, keepFailedMs, perSecond } =
  NUMBERS;
const SAME_JOB = {
  priority,
  attempts: tries,
  backoff: { type: 'exponential', delay: firstBackoffMs },
  stackTraceLimit: 10,
};
const SAME_WORKER: Partial<WorkerOptions> = {
  limiter: { max: perSecond, duration: 1000 },
  removeOnComplete: { count: keepDone, age: keepDoneMs / 1000 },
  removeOnFail: { count: keepFailed, age: keepFailedMs / 1000 },
  metrics: { maxDataPoints: 60 },
};

/** BullMQ without options, with the options that ours sets, ours on it, and ours on the journal. */
export const WAYS: Way[] = [
  { name: 'BullMQ bare', isOnRedis: true, open: async (url) => openBare(url, {}, {}) },
  {
    name: 'BullMQ, same options',
    isOnRedis: true,
    open: async (url) => openBare(url, SAME_JOB, SAME_WORKER),
  },
  { name: 'ours on Redis', isOnRedis: true, open: openOnRedis },
  { name: 'ours on the journal', isOnRedis: false, open: openOnNewDisk },
];
