import { AppError } from '../errors.js';
import { checkCron } from '../jobs/cron.js';
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
} from '../jobs/job-queue.js';
import { checkJobs, checkName, checkPayload } from '../jobs/new-jobs.js';
import type { QueueName } from '../queue-numbers.js';
import { isFired, type TickRange, Ticks, withFired } from './fired-ticks.js';
import type { Job } from './job.js';
import { JobAdder } from './job-adder.js';
import { type DiskRepeat, diskRepeat, type JobBook } from './job-book.js';
import { type DiskJobsOptions, type JobParts, startJobs } from './job-startup.js';
import { JobWorker, SuspectTurn } from './job-worker.js';
import { RepeatTimer } from './repeat-timer.js';

/**
 * The job queues on a journal on disk, for one process. All jobs are in memory; docs/decisions/jobs.md says why what is
 * promised holds when the process or the machine dies at any moment.
 */
export class DiskJobQueues implements JobQueues {
  private readonly workers = new Map<QueueName, JobWorker>();
  private readonly workerCounts = new Map<QueueName, number>();
  private readonly suspects = new SuspectTurn(() => this.pumpAll());
  private readonly adder: JobAdder;
  private readonly repeatTimer: RepeatTimer;
  private isClosing = false;
  private closed: Promise<void> | undefined;

  private constructor(private readonly parts: JobParts) {
    const { books, settings } = parts;
    this.adder = new JobAdder({
      ...parts,
      clock: settings.clock,
      assertOpen: () => this.assertOpen(),
      added: (queue) => this.workers.get(queue)?.pump(),
    });
    this.repeatTimer = new RepeatTimer({
      books: [...books.values()],
      clock: settings.clock,
      report: settings.report,
      fire: (...tick) => this.adder.addTick(...tick),
    });
  }

  /** Opens or creates the directory. Damaged files are reported, never a reason not to start. */
  static async open(options: DiskJobsOptions): Promise<DiskJobQueues> {
    return new DiskJobQueues(await startJobs(options));
  }

  async addAll<P>(queue: JobQueue<P>, jobs: readonly NewJob<P>[]): Promise<Added[]> {
    return this.adder.add(this.book(queue.name), checkJobs(queue, jobs));
  }

  async repeat<P>(queue: JobQueue<P>, { key, cron, payload }: Repeat & { payload: P }): Promise<void> {
    const book = this.book(queue.name);
    const nowMs = this.parts.settings.clock.wallMs();
    checkName(key, 'key');
    checkCron(cron, nowMs);
    const text = JSON.stringify(checkPayload(queue, payload)) ?? 'null';
    this.assertOpen();
    const before = book.repeats.get(key);
    const isSame = before?.cron === cron && before.text === text;
    const repeat = isSame ? before : diskRepeat(cron, text, firedBefore(before, cron, nowMs));
    book.repeats.set(key, repeat);
    this.repeatTimer.look();
    await this.parts.log.commit(['repeat', queue.name, key, cron, text, repeat.fired]);
  }

  async stopRepeating(queue: JobQueue, key: string): Promise<boolean> {
    this.assertOpen();
    if (!this.book(queue.name).repeats.delete(key)) return false;
    await this.parts.log.commit(['unrepeat', queue.name, key]);
    return true;
  }

  async repeats(queue: JobQueue): Promise<Repeat[]> {
    const { repeats } = this.book(queue.name);
    return [...repeats].map(([key, { cron, text }]) => ({ key, cron, payload: JSON.parse(text) }));
  }

  async pause(queue: QueueName): Promise<void> {
    await this.setPaused(queue, true);
  }

  async resume(queue: QueueName): Promise<void> {
    await this.setPaused(queue, false);
  }

  async retryFailed(queue: QueueName, ids?: readonly string[]): Promise<number> {
    this.assertOpen();
    const jobs = this.book(queue).putBack(ids);
    if (jobs.length === 0) return 0;
    const durable = this.parts.log.commit(['back', jobs.map(({ number }) => number)]);
    this.workers.get(queue)?.pump();
    await durable;
    return jobs.length;
  }

  async list(
    queue: QueueName,
    state: JobState,
    range: { offset: number; limit: number },
  ): Promise<JobInfo[]> {
    return this.book(queue).list(state, range.offset, range.limit).map(infoOf);
  }

  async find(queue: QueueName, id: string): Promise<JobInfo | undefined> {
    const job = this.book(queue).find(id);
    return job && infoOf(job);
  }

  async remove(queue: QueueName, id: string): Promise<boolean> {
    this.assertOpen();
    const book = this.book(queue);
    const job = book.find(id);
    if (!job || job.state === 'active') return false;
    book.forget(job);
    await this.parts.log.commit(['gone', [job.number]]);
    return true;
  }

  async lag(queue: QueueName): Promise<JobQueueLag> {
    const book = this.book(queue);
    return { lagMs: book.lagMs(), isPaused: book.isPaused };
  }

  async stats(queue: QueueName): Promise<JobQueueStats> {
    const book = this.book(queue);
    // First: what is due waits from then on.
    const lag = await this.lag(queue);
    return {
      ...lag,
      queue,
      waiting: book.waiting,
      active: book.active.size,
      delayed: book.delayed,
      completed: book.completedCount,
      failed: book.countFailed(),
      failures: book.failures,
      busyMs: book.busyMs,
      workers: this.workers.get(queue)?.workers ?? 0,
    };
  }

  work<P>(queue: JobQueue<P>, handler: JobHandler<P>): void {
    this.assertOpen();
    if (this.workers.has(queue.name)) throw new Error(`Two handlers for the queue ${queue.name}`);
    const { settings, log, table } = this.parts;
    const host = { log, table, clock: settings.clock, suspects: this.suspects };
    const worker = new JobWorker(
      this.book(queue.name),
      queue as JobQueue,
      handler as JobHandler<unknown>,
      host,
    );
    worker.workers = this.workerCounts.get(queue.name) ?? worker.workers;
    this.workers.set(queue.name, worker);
    worker.pump();
  }

  setWorkers(queue: QueueName, workers: number): void {
    if (!Number.isInteger(workers) || workers < 1)
      throw new AppError('INVALID_ARGUMENT', `workers ${workers}: expected a whole number from 1 on`);
    this.workerCounts.set(queue, workers);
    const worker = this.workers.get(queue);
    if (!worker) return;
    worker.workers = workers;
    worker.pump();
  }

  schedule(): void {
    this.assertOpen();
    this.repeatTimer.start();
  }

  close(graceMs: number): Promise<void> {
    this.closed ??= this.shutDown(graceMs);
    return this.closed;
  }

  private async shutDown(graceMs: number): Promise<void> {
    const { log, compaction, table, settings } = this.parts;
    this.isClosing = true;
    this.repeatTimer.stop();
    const workers = [...this.workers.values()];
    const drained = Promise.all(workers.map((worker) => worker.drained()));
    let timer: NodeJS.Timeout | undefined;
    await Promise.race([
      drained,
      new Promise((resolve) => {
        timer = setTimeout(resolve, graceMs);
      }),
    ]);
    clearTimeout(timer);
    for (const worker of workers) worker.release();
    this.suspects.stop();
    compaction.stop();
    await log.close();
    await compaction.idle();
    await log.release();
    await table?.close(settings.fs, settings.directory);
  }

  private async setPaused(queue: QueueName, isPaused: boolean): Promise<void> {
    this.assertOpen();
    this.book(queue).isPaused = isPaused;
    const durable = this.parts.log.commit(['pause', queue, isPaused]);
    this.workers.get(queue)?.pump();
    await durable;
  }

  private pumpAll(): void {
    for (const worker of this.workers.values()) worker.pump();
  }

  private book(queue: QueueName): JobBook {
    const book = this.parts.books.get(queue);
    if (!book) throw new AppError('NOT_FOUND', `No queue is called ${queue}`);
    return book;
  }

  private assertOpen(): void {
    if (this.isClosing) throw new AppError('SHUTTING_DOWN', 'The program is stopping');
  }
}

/**
 * Which ticks of a repetition count as over when it is scheduled: those until now, but none that was missed under the same
 * line, and none that came and was added under another one.
 */
function firedBefore(before: DiskRepeat | undefined, cron: string, nowMs: number): TickRange[] {
  if (before?.cron === cron) return before.fired;
  const tickMs = new Ticks(cron).until(nowMs);
  const fired = before?.fired ?? [];
  return isFired(fired, tickMs) ? fired : withFired(fired, tickMs, tickMs);
}

function infoOf(job: Job): JobInfo {
  const { id, priority, addedAtMs, progress, reason } = job;
  const state = job.state as JobState;
  const isTried = state === 'active' || state === 'completed';
  const info: JobInfo = {
    id,
    state,
    payload: JSON.parse(job.text),
    attempt: job.attempts + (isTried ? 1 : 0),
    priority,
    addedAtMs,
  };
  if (state === 'delayed') info.dueAtMs = job.dueAtMs;
  if (job.finishedAtMs > 0) info.finishedAtMs = job.finishedAtMs;
  if (progress !== undefined) info.progress = progress;
  if (reason !== undefined) info.reason = reason;
  if (job.result !== undefined) info.result = JSON.parse(job.result);
  return info;
}
