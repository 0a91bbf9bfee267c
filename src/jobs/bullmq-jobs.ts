import { setTimeout as sleep } from 'node:timers/promises';
import { Job, Queue } from 'bullmq';
import type { Redis as Client } from 'ioredis';
import type { Logger } from 'pino';
import { openRedis, type Redis, RedisAway } from '../connections/redis.js';
import { AppError } from '../errors.js';
import { type AllQueueNumbers, QUEUE_NAMES, type QueueName } from '../queue-numbers.js';
import { bullKey, fromBullId, PREFIX, toBullId } from './bullmq-keys.js';
import { failedIds, JobCounts, listJobs, readJob, readLag, readStats, retryJobs } from './bullmq-reader.js';
import { openWorkerClient, Turns } from './bullmq-redis.js';
import { BullMqRepeats, type DueJob } from './bullmq-repeats.js';
import { type LockTimes, QueueWorker, SuspectLane } from './bullmq-worker.js';
import { checkCron } from './cron.js';
import type {
  Added,
  JobHandler,
  JobInfo,
  JobQueue,
  JobQueueLag,
  JobQueueStats,
  JobQueues,
  JobState,
  NewJob,
  Repeat,
} from './job-queue.js';
import { type CheckedJob, checkJobs, checkName, checkPayload } from './new-jobs.js';

/** A worker that is silent for 30 s has lost its jobs; within 5 s more somebody sees it. */
const LOCK_TIMES: LockTimes = { lockMs: 30_000, checkMs: 5_000 };
/** Jobs added in one transaction, and on the way at once: all of them have to be answered within 200 ms. */
const LOT = 50;
const MAX_ON_THE_WAY = 200;
const STACK_LINES = 10;
/** Old jobs dropped at a time. */
const SWEEP_LOT = 1000;
const QUIET = { warn: () => undefined, info: () => undefined };
const MAX_SWEEP_MS = 60_000;
const MIN_SWEEP_MS = 250;
/** A start waits so long for the first connection. */
const CONNECT_MS = 2_000;
/** Errors of Redis that pass, or that its operator has to mend: nothing is wrong with what was asked. */
const PASSING = /^(OOM|MISCONF|READONLY|LOADING|NOREPLICAS|MASTERDOWN|CLUSTERDOWN|BUSY|EXECABORT)/;

export interface BullMqOptions {
  /** `redis://` or `rediss://`; a database in it is used instead of `database`. */
  url: string;
  database: number;
  numbers: AllQueueNumbers;
  log: Pick<Logger, 'warn' | 'info' | 'error'>;
  /** Others are for tests. */
  times?: LockTimes;
  requestMs?: number;
}

type Transaction = { runCommand(name: string, args: unknown[]): unknown };

/** The job queues on Redis, by BullMQ. */
export class BullMqJobs implements JobQueues {
  private readonly queues = new Map<QueueName, Queue>();
  private readonly tickQueues = new Map<QueueName, Queue>();
  private readonly workers = new Map<QueueName, QueueWorker<never>>();
  private readonly lane: SuspectLane;
  private readonly times: LockTimes;
  private readonly repeating: BullMqRepeats;
  private readonly counts: JobCounts;
  private readonly timers: NodeJS.Timeout[] = [];
  private workerClient: Client | undefined;
  private readonly turns = new Turns(MAX_ON_THE_WAY);
  private closing: Promise<void> | undefined;

  private constructor(
    private readonly options: BullMqOptions,
    private readonly redis: Redis,
    private readonly scheduling: Redis,
  ) {
    this.times = options.times ?? LOCK_TIMES;
    this.counts = new JobCounts(redis);
    this.lane = new SuspectLane(this.times.lockMs);
    for (const name of QUEUE_NAMES) {
      this.queues.set(name, newQueue(name, redis));
      this.tickQueues.set(name, newQueue(name, scheduling));
    }
    this.repeating = new BullMqRepeats(redis, scheduling, this.addTicks.bind(this), QUEUE_NAMES, options.log);
  }

  /** Waits a little for Redis, and goes on without: it is connected to in the background. */
  static async open(options: BullMqOptions): Promise<BullMqJobs> {
    const { url, database, log, requestMs: timeoutMs } = options;
    const open = (of: Pick<Logger, 'warn' | 'info'>) => openRedis(url, { database, log: of, timeoutMs });
    const jobs = new BullMqJobs(options, open(log), open(QUIET));
    for (const deadline = Date.now() + CONNECT_MS; !jobs.redis.isUp && Date.now() < deadline; )
      await sleep(10);
    return jobs;
  }

  /** The connection that is waited for by requests. */
  get connection(): Redis {
    return this.redis;
  }

  async addAll<P>(queue: JobQueue<P>, jobs: readonly NewJob<P>[]): Promise<Added[]> {
    const checked = checkJobs(queue, jobs);
    const added: Added[] = [];
    for (let from = 0; from < checked.length; from += LOT)
      added.push(...(await this.addLot(queue.name, checked.slice(from, from + LOT))));
    return added;
  }

  async repeat<P>(queue: JobQueue<P>, repeat: Repeat & { payload: P }): Promise<void> {
    checkName(repeat.key, 'key');
    checkCron(repeat.cron, Date.now());
    const payload = checkPayload(queue, repeat.payload);
    await orUnavailable(this.repeating.put(queue.name, { key: repeat.key, cron: repeat.cron, payload }));
  }

  stopRepeating(queue: JobQueue, key: string): Promise<boolean> {
    return orUnavailable(this.repeating.remove(queue.name, key));
  }

  repeats(queue: JobQueue): Promise<Repeat[]> {
    return orUnavailable(this.repeating.list(queue.name));
  }

  pause(queue: QueueName): Promise<void> {
    return orUnavailable(this.redis.request(() => this.of(queue).pause()));
  }

  resume(queue: QueueName): Promise<void> {
    return orUnavailable(this.redis.request(() => this.of(queue).resume()));
  }

  async retryFailed(queue: QueueName, ids?: readonly string[]): Promise<number> {
    const retry = async () => retryJobs(this.redis, this.of(queue), await failedIds(this.redis, queue, ids));
    return orUnavailable(retry());
  }

  list(queue: QueueName, state: JobState, range: { offset: number; limit: number }): Promise<JobInfo[]> {
    return orUnavailable(listJobs(this.redis, this.of(queue), state, range));
  }

  find(queue: QueueName, id: string): Promise<JobInfo | undefined> {
    return orUnavailable(readJob(this.redis, this.of(queue), toBullId(id)));
  }

  async remove(queue: QueueName, id: string): Promise<boolean> {
    const remove = async () => {
      const bullId = toBullId(id);
      // BullMQ also says that it removed what was not there.
      const isThere = await this.redis.request((client) => client.exists(bullKey(queue, bullId)));
      return isThere === 1 && (await this.redis.request(() => this.of(queue).remove(bullId))) === 1;
    };
    return orUnavailable(remove());
  }

  lag(queue: QueueName): Promise<JobQueueLag> {
    return orUnavailable(this.redis.request((client) => readLag(client, queue)));
  }

  async stats(queue: QueueName): Promise<JobQueueStats> {
    const stats = await orUnavailable(readStats(this.redis, queue));
    return { ...stats, workers: this.workers.get(queue)?.workers ?? 0 };
  }

  work<P>(queue: JobQueue<P>, handler: JobHandler<P>): void {
    if (this.workers.has(queue.name)) throw new Error(`${queue.name} is worked off already`);
    this.workerClient ??= openWorkerClient(this.options.url, this.options.database).on(
      'error',
      () => undefined,
    );
    const { log, numbers } = this.options;
    const worker = new QueueWorker(queue, handler, numbers[queue.name], {
      client: this.workerClient,
      times: this.times,
      lane: this.lane,
      counts: this.counts,
      log,
    });
    this.workers.set(queue.name, worker as unknown as QueueWorker<never>);
    this.sweepAtTimes(queue.name);
  }

  setWorkers(queue: QueueName, workers: number): void {
    const worker = this.workers.get(queue);
    if (worker) worker.workers = workers;
  }

  schedule(): void {
    this.repeating.start();
  }

  close(graceMs: number): Promise<void> {
    this.closing ??= this.closeAll(graceMs);
    return this.closing;
  }

  private async closeAll(graceMs: number): Promise<void> {
    for (const timer of this.timers) clearInterval(timer);
    await this.repeating.close();
    await Promise.all([...this.workers.values()].map((worker) => worker.close(graceMs)));
    await this.counts.close();
    this.workerClient?.disconnect();
    this.scheduling.close();
    this.redis.close();
  }

  private of(queue: QueueName): Queue {
    return this.queues.get(queue)!;
  }

  private addLot(name: QueueName, jobs: CheckedJob[]): Promise<Added[]> {
    const queue = this.of(name);
    return this.turns.take(jobs.length, async () => {
      // A transaction that says whether it was there costs more than the job itself: 1,000 a second instead of 4,000 one by one.
      if (jobs.some(({ isNamed }) => isNamed)) {
        const answers = await orUnavailable(this.redis.request(() => this.inOneStep(queue, jobs)));
        return jobs.map(({ id }, index) => ({ id, isNew: answers![2 * index] === 0 }));
      }
      // With a number of BullMQ's own: one that it is given costs Redis a tenth more, with each job that is added and each that is done.
      const all = jobs.map((job) => this.asBull(name, job));
      const add = async ({ stream }: Client) => {
        // Gathered into one write, Redis and this process would wait for each other in turn: half as many a second.
        stream.uncork();
        return all.length === 1 ? [await queue.add(name, all[0].data, all[0].opts)] : queue.addBulk(all);
      };
      const added = await orUnavailable(this.redis.request(add));
      return added.map(({ id }) => ({ id: fromBullId(id!), isNew: true }));
    });
  }

  private asBull(name: QueueName, { payload, delayMs, priority }: CheckedJob) {
    const { priority: usual, tries, firstBackoffMs } = this.options.numbers[name];
    const opts = {
      priority: priority ?? usual,
      delay: delayMs,
      attempts: tries,
      backoff: { type: 'exponential', delay: firstBackoffMs },
      stackTraceLimit: STACK_LINES,
    };
    return { name, data: payload, opts };
  }

  /** For each job whether it was there, and its id; undefined when something that was watched has changed. */
  private async inOneStep(
    queue: Queue,
    jobs: CheckedJob[],
    more: (transaction: Transaction) => void = () => undefined,
  ): Promise<unknown[] | undefined> {
    const name = queue.name as QueueName;
    const transaction = (await queue.getBackend().client).multi();
    for (const job of jobs) {
      const { data, opts } = this.asBull(name, job);
      const jobId = toBullId(job.id);
      transaction.runCommand('exists', [bullKey(name, jobId)]);
      void new Job(queue, name, data, { ...opts, jobId }, jobId).addJob(transaction, {});
    }
    more(transaction);
    const answers = await transaction.exec();
    const failed = answers?.find(([error]) => error !== null);
    if (failed) throw failed[0]!;
    return answers?.map(([, answer]) => answer);
  }

  private async addTicks(name: QueueName, jobs: DueJob[], more: (transaction: Transaction) => void) {
    const queue = this.tickQueues.get(name)!;
    const checked = jobs.map((job) => ({ ...job, isNamed: true, delayMs: 0, priority: undefined }));
    return (await this.scheduling.request(() => this.inOneStep(queue, checked, more))) !== undefined;
  }

  /** BullMQ looks at ages when a job ends; without further jobs old ones would stay. */
  private sweepAtTimes(name: QueueName): void {
    const { keepDoneMs, keepFailedMs } = this.options.numbers[name];
    const everyMs = Math.min(MAX_SWEEP_MS, Math.max(MIN_SWEEP_MS, Math.min(keepDoneMs, keepFailedMs) / 4));
    const sweep = async () => {
      await this.redis.request(() => this.of(name).clean(keepDoneMs, SWEEP_LOT, 'completed'));
      await this.redis.request(() => this.of(name).clean(keepFailedMs, SWEEP_LOT, 'failed'));
    };
    this.timers.push(setInterval(() => void sweep().catch(() => undefined), everyMs).unref());
  }
}

/** Fails at once while Redis is away: it neither waits for the connection nor asks anything of it by itself. */
function newQueue(name: QueueName, redis: Redis): Queue {
  const options = { prefix: PREFIX, skipVersionCheck: true, skipWaitingForReady: true };
  return new Queue(name, { connection: redis.client, ...options }).on('error', () => undefined);
}

async function orUnavailable<T>(work: Promise<T>): Promise<T> {
  try {
    return await work;
  } catch (error) {
    const { message } = error as Error;
    if (!(error instanceof RedisAway) && !PASSING.test(message)) throw error;
    throw new AppError('UNAVAILABLE', `The job queues are not available: ${message}`, { cause: error });
  }
}
