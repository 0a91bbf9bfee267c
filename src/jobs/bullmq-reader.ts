import type { Queue } from 'bullmq';
import type { Redis as Client } from 'ioredis';
import { type Redis, runScript } from '../connections/redis.js';
import type { QueueName } from '../queue-numbers.js';
import { bullKey, fromBullId, OLDEST, ownKey, toBullId } from './bullmq-keys.js';
import type { JobInfo, JobQueueLag, JobQueueStats, JobState } from './job-queue.js';

/** Jobs read in one request: it has to be answered within 200 ms. */
const LOT = 50;

const COUNT_MS = 200;

type Range = { offset: number; limit: number };

/** Ids of a state in the order in which `JobQueues.list` gives them. */
async function idsOf(redis: Redis, queue: QueueName, state: JobState, { offset, limit }: Range) {
  const last = offset + limit - 1;
  return redis.request(async (client) => {
    const key = (name: string) => bullKey(queue, name);
    if (state === 'completed' || state === 'failed') return client.zrevrange(key(state), offset, last);
    if (state === 'delayed') return client.zrange(key(state), offset, last);
    if (state === 'active') return (await client.lrange(key('active'), -1 - last, -1 - offset)).reverse();
    // What came back from a lost worker is first, then what has a priority: everything that is added here.
    const back = (await client.lrange(key('wait'), 0, -1)).reverse();
    const from = Math.max(0, offset - back.length);
    const rest = await client.zrange(key('prioritized'), from, from + limit - 1);
    return [...back.slice(offset), ...rest].slice(0, limit);
  });
}

/** A job as it is looked at; undefined when it is gone. */
export async function readJob(redis: Redis, queue: Queue, bullId: string): Promise<JobInfo | undefined> {
  return redis.request(async (client) => {
    const [job, bullState, due] = await Promise.all([
      queue.getJob(bullId),
      queue.getJobState(bullId),
      client.zscore(bullKey(queue.name as QueueName, 'delayed'), bullId),
    ]);
    if (!job) return undefined;
    const state = stateOf(bullState);
    const info: JobInfo = {
      id: fromBullId(bullId),
      state,
      payload: job.data,
      attempt: state === 'active' ? job.attemptsMade + 1 : job.attemptsMade,
      priority: job.opts.priority ?? 0,
      addedAtMs: job.timestamp,
    };
    if (due !== null) info.dueAtMs = Math.floor(Number(due) / 0x1000);
    if (job.finishedOn) info.finishedAtMs = job.finishedOn;
    if (typeof job.progress === 'number') info.progress = job.progress;
    if (job.failedReason && state !== 'completed') info.reason = job.failedReason;
    if (state === 'completed' && job.returnvalue !== null) info.result = job.returnvalue;
    return info;
  });
}

function stateOf(bullState: string): JobState {
  if (bullState === 'active' || bullState === 'delayed') return bullState;
  if (bullState === 'completed' || bullState === 'failed') return bullState;
  return 'waiting';
}

export async function listJobs(
  redis: Redis,
  queue: Queue,
  state: JobState,
  range: Range,
): Promise<JobInfo[]> {
  const ids = range.limit > 0 ? await idsOf(redis, queue.name as QueueName, state, range) : [];
  const found: JobInfo[] = [];
  for (let from = 0; from < ids.length; from += LOT) {
    const lot = await Promise.all(ids.slice(from, from + LOT).map((id) => readJob(redis, queue, id)));
    found.push(...lot.filter((job) => job !== undefined));
  }
  return found;
}

/** As `JobQueues.lag`. */
export async function readLag(client: Client, queue: QueueName): Promise<JobQueueLag> {
  const now = Date.now();
  const [paused, oldest] = await Promise.all([
    client.hexists(bullKey(queue, 'meta'), 'paused'),
    runScript(client, OLDEST, [bullKey(queue, '')], [now]),
  ]);
  return { lagMs: Math.max(0, now - Number(oldest)), isPaused: paused === 1 };
}

/** Everything but what only the own process knows. */
export async function readStats(redis: Redis, queue: QueueName): Promise<Omit<JobQueueStats, 'workers'>> {
  const key = (name: string) => bullKey(queue, name);
  return redis.request(async (client) => {
    const [wait, prioritized, active, delayed, failed, completed, counters, lag] = await Promise.all([
      client.llen(key('wait')),
      client.zcard(key('prioritized')),
      client.llen(key('active')),
      client.zcard(key('delayed')),
      client.zcard(key('failed')),
      client.hget(key('metrics:completed'), 'count'),
      client.hgetall(ownKey(queue, 'counters')),
      readLag(client, queue),
    ]);
    return {
      queue,
      waiting: wait + prioritized,
      active,
      delayed,
      completed: Number(completed ?? 0),
      failed,
      failures: Number(counters.failures ?? 0),
      busyMs: Number(counters.busyMs ?? 0),
      ...lag,
    };
  });
}

/** Puts failed jobs back with all their tries; how many there were of them. */
export async function retryJobs(redis: Redis, queue: Queue, ids: readonly string[]): Promise<number> {
  const backend = queue.getBackend();
  let count = 0;
  for (let from = 0; from < ids.length; from += LOT) {
    const lot = await redis.request((client) =>
      Promise.all(
        ids.slice(from, from + LOT).map(async (id) => {
          const key = bullKey(queue.name as QueueName, id);
          // Of a job that ended its process too, and of the one that was failed for it: a retry is a new start.
          const isFailed = (await client.zscore(bullKey(queue.name as QueueName, 'failed'), id)) !== null;
          if (!isFailed) return 0;
          await client
            .multi()
            .hset(key, 'tf:back', Date.now())
            .hdel(key, 'stc', 'tf:alone', 'stacktrace')
            .exec();
          const job = await queue.getJob(id);
          if (!job) return 0;
          return backend
            .retryFinishedJob(job, 'failed', { resetAttemptsMade: true, resetAttemptsStarted: true })
            .then(
              () => 1,
              (error: Error & { code?: number }) => {
                // Somebody else was faster.
                if (error.code === -1 || error.code === -3) return 0;
                throw error;
              },
            );
        }),
      ),
    );
    count += lot.reduce<number>((sum, one) => sum + one, 0);
  }
  return count;
}

/** Ids of all failed jobs, or of those asked for, as BullMQ has them. */
export async function failedIds(redis: Redis, queue: QueueName, ids?: readonly string[]): Promise<string[]> {
  if (ids) return ids.map(toBullId);
  return redis.request((client) => client.zrange(bullKey(queue, 'failed'), 0, -1));
}

/**
 * What is counted beside BullMQ's own numbers. It is gathered: a write for each job would cost a tenth of what the job costs. A process that
 * is killed loses up to 200 ms of it.
 */
export class JobCounts {
  private readonly sums = new Map<QueueName, { failures: number; busyMs: number }>();
  private timer: NodeJS.Timeout | undefined;

  constructor(private readonly redis: Redis) {}

  add(queue: QueueName, { failures = 0, busyMs = 0 }: { failures?: number; busyMs?: number }): void {
    const sums = this.sums.get(queue) ?? { failures: 0, busyMs: 0 };
    this.sums.set(queue, { failures: sums.failures + failures, busyMs: sums.busyMs + busyMs });
    this.timer ??= setTimeout(() => {
      this.timer = undefined;
      void this.flush();
    }, COUNT_MS).unref();
  }

  async close(): Promise<void> {
    clearTimeout(this.timer);
    await this.flush();
  }

  /** What Redis does not take now is kept for later. */
  private async flush(): Promise<void> {
    for (const [queue, { failures, busyMs }] of [...this.sums]) {
      this.sums.delete(queue);
      const key = ownKey(queue, 'counters');
      const write = (client: Client) =>
        client.multi().hincrby(key, 'failures', failures).hincrby(key, 'busyMs', Math.round(busyMs)).exec();
      await this.redis.request(write).catch(() => this.add(queue, { failures, busyMs }));
    }
  }
}
