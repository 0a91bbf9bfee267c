import type { Added } from '../jobs/job-queue.js';
import type { CheckedJob } from '../jobs/new-jobs.js';
import type { QueueName } from '../queue-numbers.js';
import { isFired, Ticks, withFired } from './fired-ticks.js';
import { type Job, type JobClock, newJob } from './job.js';
import type { DiskRepeat, JobBook } from './job-book.js';
import type { JobLog } from './job-log.js';
import { addEvent, type FiredBy, type JobEvent } from './job-records.js';

export interface AdderHost {
  log: JobLog;
  clock: JobClock;
  /** The number of the last job that was added. */
  counter: { last: number };
  /** @throws AppError SHUTTING_DOWN */
  assertOpen(): void;
  /** Jobs of that queue may run now. */
  added(queue: QueueName): void;
}

/** So many characters of new jobs go into one record. */
const MAX_CHUNK_CHARS = 64 * 1024;

/** Adds jobs: known to the books, and run, from the moment on at which they are durable. */
export class JobAdder {
  /** Ids on their way to the disk, by queue and id: whether they got there is known when this resolves. */
  private readonly adding = new Map<string, Promise<unknown>>();

  constructor(private readonly host: AdderHost) {}

  /** Resolves when all are durable. @throws AppError UNAVAILABLE, SHUTTING_DOWN */
  async add(book: JobBook, jobs: readonly CheckedJob[]): Promise<Added[]> {
    const keys = jobs.filter(({ isNamed }) => isNamed).map(({ id }) => `${book.name}:${id}`);
    // Whether one of these ids is there may be just about to be decided.
    for (let other = this.oneOf(keys); other; other = this.oneOf(keys)) await other.catch(() => undefined);
    this.host.assertOpen();
    book.tidy();
    const fresh: Job[] = [];
    const names = new Set<string>();
    const added = jobs.map((job): Added => {
      const { id, isNamed } = job;
      if (isNamed && (names.has(id) || book.ids.has(id))) return { id, isNew: false };
      if (isNamed) names.add(id);
      fresh.push(this.newJob(book, job));
      return { id, isNew: true };
    });
    if (fresh.length > 0) await this.write(book, fresh, keys);
    return added;
  }

  /** The job of a tick, and in the same record that the tick is over: neither is there without the other. */
  async addTick(book: JobBook, key: string, repeat: DiskRepeat, tickMs: number): Promise<void> {
    const id = `${key}:${tickMs}`;
    const name = `${book.name}:${id}`;
    await this.adding.get(name);
    this.host.assertOpen();
    if (book.repeats.get(key) !== repeat || isFired(repeat.fired, tickMs)) return;
    const payload: unknown = JSON.parse(repeat.text);
    const job = this.newJob(book, { id, isNamed: true, payload, delayMs: 0, priority: undefined }, tickMs);
    await this.write(book, [job], [name], [key, new Ticks(repeat.cron).until(tickMs - 1)]);
  }

  private newJob(book: JobBook, { id, payload, delayMs, priority }: CheckedJob, tickMs?: number): Job {
    const { clock, counter } = this.host;
    const nowMs = clock.wallMs();
    const job = newJob({
      number: ++counter.last,
      queue: book.name,
      id,
      text: JSON.stringify(payload) ?? 'null',
      priority: priority ?? book.numbers.priority,
      addedAtMs: nowMs,
      tickMs,
      dueAtMs: delayMs > 0 ? nowMs + delayMs : 0,
    });
    job.sinceMs = clock.monotonicMs() + delayMs;
    return job;
  }

  /** Resolves when the jobs are durable; they may run from then on. */
  private async write(
    book: JobBook,
    jobs: readonly Job[],
    keys: readonly string[],
    firedBy?: FiredBy,
  ): Promise<void> {
    const written = allOrThrow(chunksOf(jobs).map((chunk) => this.writeChunk(book, chunk, firedBy)));
    for (const key of keys) this.adding.set(key, written);
    try {
      await written;
    } finally {
      for (const key of keys) this.adding.delete(key);
    }
  }

  private writeChunk(book: JobBook, jobs: readonly Job[], firedBy?: FiredBy): Promise<void> {
    const events = jobs.map((job): JobEvent => addEvent(job, firedBy));
    const numbers = jobs.map(({ number }) => number);
    return this.host.log.add(events, numbers, () => {
      for (const job of jobs) {
        book.insert(job);
        // It may have been replaced meanwhile; the tick is over all the same.
        const repeat = firedBy && book.repeats.get(firedBy[0]);
        if (repeat && job.tickMs !== undefined)
          repeat.fired = withFired(repeat.fired, job.tickMs, firedBy[1]);
      }
      this.host.added(book.name);
    });
  }

  private oneOf(keys: readonly string[]): Promise<unknown> | undefined {
    if (this.adding.size === 0) return undefined;
    for (const key of keys) {
      const other = this.adding.get(key);
      if (other) return other;
    }
    return undefined;
  }
}

/** Settles when all have: until then nobody may add one of their ids again. */
async function allOrThrow(promises: readonly Promise<void>[]): Promise<void> {
  for (const outcome of await Promise.allSettled(promises))
    if (outcome.status === 'rejected') throw outcome.reason;
}

/** As many jobs as go into one record. */
function chunksOf(jobs: readonly Job[]): Job[][] {
  const chunks: Job[][] = [];
  let chars = MAX_CHUNK_CHARS;
  for (const job of jobs) {
    if (chars >= MAX_CHUNK_CHARS) {
      chunks.push([]);
      chars = 0;
    }
    chunks.at(-1)?.push(job);
    chars += job.text.length;
  }
  return chunks;
}
