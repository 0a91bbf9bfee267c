import { AppError, PermanentError } from '../errors.js';
import { type JobHandler, type JobQueue, NOT_TRIED_AGAIN, type RunningJob } from '../jobs/job-queue.js';
import { asError, readPayload } from '../jobs/new-jobs.js';
import type { Job, JobClock } from './job.js';
import type { JobBook } from './job-book.js';
import type { JobLog } from './job-log.js';
import type { RunningTable } from './running-table.js';
import { StartRate } from './start-rate.js';

export interface WorkerHost {
  log: JobLog;
  /** undefined when the disk could not take one. */
  table: RunningTable | undefined;
  clock: JobClock;
  suspects: SuspectTurn;
}

/** A job that has run so long did not end its process by being started. */
const LONG_ENOUGH_MS = 30_000;
const MAX_TIMER_MS = 60_000;
const MAX_REASON_CHARS = 4000;

/** A try of a job, as its handler sees it. */
class Try<P> implements RunningJob<P> {
  payload!: P;
  /** The queue is closed, or has given the job back: what becomes of this try does not count. */
  isOver = false;
  private abort: AbortController | undefined;
  private isAborted = false;

  constructor(readonly job: Job) {}

  get id(): string {
    return this.job.id;
  }

  get attempt(): number {
    return this.job.attempts + 1;
  }

  get addedAtMs(): number {
    return this.job.addedAtMs;
  }

  get tickMs(): number | undefined {
    return this.job.tickMs;
  }

  /** Made when it is asked for: most handlers are over before anybody could. */
  get signal(): AbortSignal {
    this.abort ??= new AbortController();
    if (this.isAborted) this.abort.abort();
    return this.abort.signal;
  }

  async progress(share: number): Promise<void> {
    if (!(share >= 0 && share <= 1))
      throw new AppError('INVALID_ARGUMENT', `Progress is a share of 0 to 1, not ${share}`);
    if (!this.isOver) this.job.progress = share;
  }

  release(): void {
    this.isOver = true;
    this.isAborted = true;
    this.abort?.abort();
  }
}

/** Works one queue off in this process: as many jobs at once and in a second as it may. */
export class JobWorker {
  workers: number;
  private readonly rate: StartRate;
  private readonly tries = new Set<Try<unknown>>();
  private isStopping = false;
  private timer: NodeJS.Timeout | undefined;
  private timerAtMs = Number.POSITIVE_INFINITY;
  private idle: (() => void) | undefined;

  constructor(
    private readonly book: JobBook,
    private readonly queue: JobQueue,
    private readonly handler: JobHandler<unknown>,
    private readonly host: WorkerHost,
  ) {
    this.workers = book.numbers.workers;
    this.rate = new StartRate(book.numbers.perSecond);
  }

  /** Starts what may start; to be called whenever that may have changed. */
  pump(): void {
    if (this.isStopping || this.book.isPaused) return;
    this.book.promote();
    while (this.tries.size < this.workers) {
      const nowMs = this.host.clock.monotonicMs();
      const waitMs = this.rate.waitMs(nowMs);
      if (waitMs > 0) {
        if (this.book.waiting > 0) this.wakeAt(nowMs + waitMs);
        break;
      }
      const job = this.book.take(this.host.suspects.isFree);
      if (!job) break;
      this.rate.started(nowMs);
      void this.run(job);
    }
    // Else whatever ends next looks for more.
    if (this.book.delayed > 0 && this.tries.size < this.workers) this.wakeAt(this.book.nextDueMs());
  }

  /** Takes no more; resolves when nothing runs. */
  async drained(): Promise<void> {
    this.isStopping = true;
    clearTimeout(this.timer);
    if (this.tries.size === 0) return;
    await new Promise<void>((resolve) => {
      this.idle = resolve;
    });
  }

  /** Gives back what still runs, with the tries it has had, and tells the handlers. */
  release(): void {
    for (const running of this.tries) {
      this.book.giveBack(running.job);
      running.release();
    }
    this.tries.clear();
  }

  private async run(job: Job): Promise<void> {
    const { table, suspects, log, clock } = this.host;
    if (job.deaths > 0 && this.queue.isRedone) {
      const [attempts, atMs] = [job.attempts + 1, clock.wallMs()];
      this.book.fail(job, attempts, atMs, NOT_TRIED_AGAIN, false);
      log.note(['fail', job.number, attempts, atMs, NOT_TRIED_AGAIN, false]);
      return;
    }
    const running = new Try<unknown>(job);
    this.tries.add(running);
    if (job.deaths > 0) suspects.take(job);
    const slot = table?.mark(job.number) ?? 0;
    // Not before: a handler can end the process at once, and its job has to be known then.
    await table?.written();
    try {
      if (!running.isOver) await this.attempt(running);
    } finally {
      table?.unmark(slot);
      this.tries.delete(running);
      suspects.giveUp(job);
      if (this.tries.size === 0) this.idle?.();
      this.pump();
    }
  }

  private async attempt(running: Try<unknown>): Promise<void> {
    const { job } = running;
    const startedMs = this.host.clock.monotonicMs();
    let result: string | undefined;
    try {
      running.payload = readPayload(this.queue, JSON.parse(job.text));
      result = toJson(await this.handler(running));
    } catch (error) {
      if (!running.isOver) this.failed(job, error);
      return;
    }
    if (running.isOver) return;
    const busyMs = Math.round((this.host.clock.monotonicMs() - startedMs) * 1000) / 1000;
    const atMs = this.host.clock.wallMs();
    running.isOver = true;
    this.book.complete(job, atMs, busyMs, result);
    this.host.log.note(['done', job.number, atMs, busyMs, job.progress ?? null, result ?? null]);
  }

  private failed(job: Job, error: unknown): void {
    const { tries, firstBackoffMs } = this.book.numbers;
    const reason = asError(error).message.slice(0, MAX_REASON_CHARS);
    const attempts = job.attempts + 1;
    const atMs = this.host.clock.wallMs();
    if (error instanceof PermanentError || attempts >= tries) {
      this.book.fail(job, attempts, atMs, reason, true);
      this.host.log.note(['fail', job.number, attempts, atMs, reason, true]);
      return;
    }
    const delayMs = firstBackoffMs * 2 ** (attempts - 1);
    this.book.retry(job, attempts, atMs + delayMs, delayMs, reason);
    this.host.log.note(['retry', job.number, attempts, atMs + delayMs, reason]);
  }

  /** @param atMs monotonic clock */
  private wakeAt(atMs: number): void {
    if (this.timer && this.timerAtMs <= atMs) return;
    clearTimeout(this.timer);
    this.timerAtMs = atMs;
    const waitMs = Math.min(Math.max(1, atMs - this.host.clock.monotonicMs()), MAX_TIMER_MS);
    this.timer = setTimeout(() => {
      this.timer = undefined;
      this.pump();
    }, waitMs);
  }
}

/** @throws PermanentError: the work is done, so another try would only do it twice */
function toJson(result: unknown): string | undefined {
  try {
    return JSON.stringify(result);
  } catch (error) {
    throw new PermanentError(`What its handler returned is not JSON: ${(error as Error).message}`);
  }
}

/**
 * Jobs that ran when a process died run one at a time, over all queues: should the process die again, only one of them
 * was running, and the others, which happened to run beside it the first time, are not taken for poison.
 */
export class SuspectTurn {
  private holder: Job | undefined;
  private timer: NodeJS.Timeout | undefined;

  /** @param onFree called when the next one may run */
  constructor(private readonly onFree: () => void) {}

  get isFree(): boolean {
    return this.holder === undefined;
  }

  take(job: Job): void {
    this.holder = job;
    this.timer = setTimeout(() => this.giveUp(job), LONG_ENOUGH_MS).unref();
  }

  /** Nothing happens when it is not its turn. */
  giveUp(job: Job): void {
    if (this.holder !== job) return;
    this.holder = undefined;
    clearTimeout(this.timer);
    this.onFree();
  }

  /** For the end. */
  stop(): void {
    clearTimeout(this.timer);
    this.holder = undefined;
  }
}
