import { setTimeout as sleep } from 'node:timers/promises';
import { DelayedError, type Job, UnrecoverableError, WaitingError, Worker } from 'bullmq';
import type { Redis as Client } from 'ioredis';
import type { Logger } from 'pino';
import { PermanentError } from '../errors.js';
import type { QueueNumbers } from '../queue-numbers.js';
import { bullKey, fromBullId, PREFIX, tickOf } from './bullmq-keys.js';
import type { JobCounts } from './bullmq-reader.js';
import { type JobHandler, type JobQueue, NOT_TRIED_AGAIN } from './job-queue.js';
import { asError, readPayload } from './new-jobs.js';

const WINDOW_MS = 1_000;
/** BullMQ's own limit, which counts against all that ran beside the culprit; ours is the mark below. */
const MAX_STALLED = 1_000_000;
/** Set on a job that is the only suspect running in its process. */
const ALONE = 'tf:alone';
/** Until a suspect is looked at again while another one runs. */
const SUSPECT_PAUSE_MS = 250;
/** For jobs to heed their signal. */
const SIGNAL_MS = 500;
/** For saying goodbye to a Redis that may be away. */
const GOODBYE_MS = 2_000;
const FETCH_RETRY_MS = 500;
const METRICS_MINUTES = 60;

/** How long a worker may be silent. */
export interface LockTimes {
  /** Then its jobs are free again; it renews at half of it. */
  lockMs: number;
  /** How often somebody looks for such jobs. */
  checkMs: number;
}

/** What the workers of a process share. */
export interface WorkerContext {
  client: Client;
  times: LockTimes;
  lane: SuspectLane;
  counts: JobCounts;
  log: Pick<Logger, 'warn' | 'info'>;
}

/**
 * Jobs whose worker was lost run one at a time in a process: when it ends again, only the one is taken for the reason, and
 * those that merely ran beside it are not.
 */
export class SuspectLane {
  private holder: symbol | undefined;

  /** @param maxMs after it a suspect has shown that it does not end the process at once, and the next one may run */
  constructor(private readonly maxMs: number) {}

  /**
   * Undefined while another one is in it; else what to call on leaving.
   *
   * @param shown is called when its time is over
   */
  enter(shown: () => void): (() => void) | undefined {
    if (this.holder) return undefined;
    const holder = Symbol('suspect');
    this.holder = holder;
    const leave = () => {
      clearTimeout(timer);
      if (this.holder === holder) this.holder = undefined;
    };
    const timer = setTimeout(() => {
      leave();
      shown();
    }, this.maxMs).unref();
    return leave;
  }
}

/** A job in hand. */
class Taken {
  isLost = false;
  /** Ends the wait for its handler. */
  drop!: () => void;
  private controller: AbortController | undefined;
  private reason: Error | undefined;

  /** Made when it is asked for: most handlers are over before anybody could. */
  get signal(): AbortSignal {
    this.controller ??= new AbortController();
    if (this.reason) this.controller.abort(this.reason);
    return this.controller.signal;
  }

  get isAborted(): boolean {
    return this.reason !== undefined;
  }

  abort(reason: Error): void {
    this.reason ??= reason;
    this.controller?.abort(reason);
  }

  /** What the work comes to, or a rejection once it is dropped. */
  unlessDropped<T>(work: Promise<T>): Promise<T> {
    return new Promise((resolve, reject) => {
      this.drop = () => reject(new Error('dropped'));
      work.then(resolve, reject);
    });
  }
}

/** Works one queue off in this process. */
export class QueueWorker<P> {
  private readonly worker: Worker;
  private readonly taken = new Map<string, Taken>();
  private isClosing = false;
  private lastError = '';

  constructor(
    private readonly queue: JobQueue<P>,
    private readonly handler: JobHandler<P>,
    numbers: QueueNumbers,
    private readonly context: WorkerContext,
  ) {
    this.worker = new Worker(queue.name, (job: Job, token?: string) => this.process(job, token!), {
      connection: context.client,
      prefix: PREFIX,
      concurrency: numbers.workers,
      limiter: { max: numbers.perSecond, duration: WINDOW_MS },
      lockDuration: context.times.lockMs,
      stalledInterval: context.times.checkMs,
      maxStalledCount: MAX_STALLED,
      removeOnComplete: { count: numbers.keepDone, age: Math.ceil(numbers.keepDoneMs / 1000) },
      removeOnFail: { count: numbers.keepFailed, age: Math.ceil(numbers.keepFailedMs / 1000) },
      runRetryDelay: FETCH_RETRY_MS,
      metrics: { maxDataPoints: METRICS_MINUTES },
    });
    this.worker.on('completed', ({ finishedOn = 0, processedOn = finishedOn }) =>
      context.counts.add(queue.name, { busyMs: finishedOn - processedOn }),
    );
    this.worker.on('lockRenewalFailed', (ids) => this.lost(ids));
    this.worker.on('stalled', (id) =>
      context.log.warn({ queue: queue.name, id: fromBullId(id) }, 'A job lost its worker'),
    );
    this.worker.on('error', (error) => this.tell(error));
  }

  get workers(): number {
    return this.worker.concurrency;
  }

  set workers(workers: number) {
    this.worker.concurrency = workers;
    // BullMQ's loop looks at the number when a job ends; with all in hand for long it has to be told. The suite says when this fails.
    const loop = this.worker as unknown as { mainLoopQueue: { add(job: Promise<void>): void } | null };
    loop.mainLoopQueue?.add(Promise.resolve());
  }

  /** As `JobQueues.close`, for one queue. Resolves in any case, though Redis is away. */
  async close(graceMs: number): Promise<void> {
    this.isClosing = true;
    await this.worker.pause(true);
    if (!(await this.isIdleWithin(graceMs))) {
      for (const taken of this.taken.values()) taken.abort(new Error('The process stops'));
      await this.isIdleWithin(SIGNAL_MS);
      for (const taken of this.taken.values()) taken.drop();
    }
    const closed = this.worker.close();
    if ((await Promise.race([closed, sleep(GOODBYE_MS, 'late', { ref: false })])) !== 'late') return;
    this.context.log.warn(
      { queue: this.queue.name },
      'Redis does not take the jobs back; they are free when their lock is over',
    );
    await Promise.race([this.worker.disconnect(), sleep(GOODBYE_MS, undefined, { ref: false })]);
  }

  private async isIdleWithin(maxMs: number): Promise<boolean> {
    for (const deadline = performance.now() + maxMs; this.taken.size > 0; await sleep(10))
      if (performance.now() > deadline) return false;
    return true;
  }

  private async process(job: Job, token: string): Promise<unknown> {
    if (this.isClosing) return this.giveBack(job, token);
    const isSuspect = job.stalledCounter > 0;
    if (isSuspect && this.queue.isRedone) throw new UnrecoverableError(NOT_TRIED_AGAIN);
    const leave = isSuspect ? this.context.lane.enter(() => void this.acquit(job)) : undefined;
    if (isSuspect && !leave) {
      await job.moveToDelayed(Date.now() + SUSPECT_PAUSE_MS, token);
      throw new DelayedError();
    }
    try {
      if (!isSuspect) return await this.run(job, token);
      await this.accuse(job);
      // In any case before what became of it is noted: it has not ended the process.
      return await this.run(job, token).finally(() => this.acquit(job));
    } finally {
      leave?.();
    }
  }

  /** @throws UnrecoverableError when its worker was lost before while it ran alone */
  private async accuse(job: Job): Promise<void> {
    const isFirst = await this.context.client.hsetnx(bullKey(this.queue.name, job.id!), ALONE, 1);
    if (isFirst === 0) throw new UnrecoverableError('Its worker was lost twice while it ran');
  }

  private async acquit(job: Job): Promise<void> {
    await this.context.client
      .hdel(bullKey(this.queue.name, job.id!), ALONE)
      .catch((error) => this.tell(error));
  }

  private async run(job: Job, token: string): Promise<unknown> {
    const taken = new Taken();
    this.taken.set(job.id!, taken);
    try {
      return await taken.unlessDropped(this.handle(job, taken));
    } catch (thrown) {
      if (thrown instanceof PermanentError) return this.fail(new UnrecoverableError(asError(thrown).message));
      // Another worker has it, or will have it: what became of this try is of no interest.
      if (taken.isLost) throw new WaitingError();
      if (taken.isAborted) return await this.giveBack(job, token);
      return this.fail(asError(thrown));
    } finally {
      this.taken.delete(job.id!);
    }
  }

  private async handle(job: Job, taken: Taken): Promise<unknown> {
    const id = fromBullId(job.id!);
    return this.handler({
      id,
      payload: readPayload(this.queue, job.data),
      attempt: job.attemptsMade + 1,
      addedAtMs: job.timestamp,
      tickMs: tickOf(id),
      get signal() {
        return taken.signal;
      },
      progress: (share) => job.updateProgress(share),
    });
  }

  private fail(error: Error): never {
    this.context.counts.add(this.queue.name, { failures: 1 });
    throw error;
  }

  /** Back to where it was, without counting as a try. */
  private async giveBack(job: Job, token: string): Promise<never> {
    await job.moveToWait(token);
    throw new WaitingError();
  }

  private lost(ids: string[]): void {
    for (const taken of ids.flatMap((id) => this.taken.get(id) ?? [])) {
      taken.isLost = true;
      taken.abort(new Error('The job is not this worker’s any more'));
    }
  }

  /** Each kind of trouble once, as long as it lasts: without Redis there is an error at every try. */
  private tell(error: Error): void {
    if (error.message === this.lastError) return;
    this.lastError = error.message;
    this.context.log.warn({ queue: this.queue.name, error: error.message }, 'A worker has trouble');
  }
}
