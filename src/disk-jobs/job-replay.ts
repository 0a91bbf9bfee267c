import { checkCron } from '../jobs/cron.js';
import { type JournalRecord, RECORD_VERSION } from '../journal/record.js';
import type { Report } from '../journal/report.js';
import { type AllQueueNumbers, QUEUE_NAMES, type QueueName } from '../queue-numbers.js';
import { Fifo } from './fifo.js';
import { joined, type TickRange, withFired } from './fired-ticks.js';
import { type Job, type JobClock, newJob } from './job.js';
import { diskRepeat, type JobBook } from './job-book.js';
import { decodeEvents, EVENTS, type JobEvent } from './job-records.js';

interface ReplayedRepeat {
  cron: string;
  text: string;
  fired: TickRange[];
  /** Said before the snapshot that is being read began. */
  isOld: boolean;
}

class ReplayedQueue {
  isPaused = false;
  completed = 0;
  failures = 0;
  busyMs = 0;
  readonly repeats = new Map<string, ReplayedRepeat>();
  /** Completed jobs in their order: only so many are kept in memory meanwhile. */
  done = new Fifo<Job>();
}

/** Rebuilds what is known of all queues from journal records, given in the order of the files. */
export class JobReplay {
  lastNumber = 0;
  /** The process whose death was last written down. */
  accountedEpoch: number | undefined;
  private jobs = new Map<number, Job>();
  /** Jobs that the snapshot being read has not said again yet. */
  private older = new Map<number, Job>();
  private readonly queues = new Map<QueueName, ReplayedQueue>(
    QUEUE_NAMES.map((name) => [name, new ReplayedQueue()]),
  );

  constructor(private readonly numbers: AllQueueNumbers) {}

  /** @returns false for a record this program does not understand: its segment must be kept */
  add(record: JournalRecord): boolean {
    if (record.version !== RECORD_VERSION || record.type !== EVENTS) return false;
    try {
      let isUnderstood = true;
      for (const event of decodeEvents(record.payload)) if (!this.apply(event)) isUnderstood = false;
      return isUnderstood;
    } catch {
      return false;
    }
  }

  /** The open job of that number. */
  open(number: number): Job | undefined {
    const job = this.find(number);
    return job && isOpen(job) ? job : undefined;
  }

  /** Fills the books. Call once, after the last record. */
  finish(books: ReadonlyMap<QueueName, JobBook>, clock: JobClock, report: Report): void {
    for (const job of this.jobs.values()) this.older.set(job.number, job);
    const jobs = [...this.older.values()];
    this.older.clear();
    this.jobs.clear();
    // Finished ones go by when they finished, the others by their age.
    jobs.sort((a, b) => a.finishedAtMs - b.finishedAtMs || a.number - b.number);
    const [wallMs, monotonicMs] = [clock.wallMs(), clock.monotonicMs()];
    for (const job of jobs) {
      setTime(job, wallMs, monotonicMs);
      books.get(job.queue)?.insert(job);
    }
    for (const [name, queue] of this.queues) {
      const book = books.get(name);
      if (!book) continue;
      book.isPaused = queue.isPaused;
      book.completedCount = queue.completed;
      book.failures = queue.failures;
      book.busyMs = queue.busyMs;
      for (const [key, { cron, text, fired }] of queue.repeats) {
        try {
          checkCron(cron, wallMs);
          book.repeats.set(key, diskRepeat(cron, text, fired));
        } catch (error) {
          report({ kind: 'problem', message: `Repetition ${key} of ${name} is dropped`, error });
        }
      }
    }
  }

  private find(number: number): Job | undefined {
    return this.jobs.get(number) ?? this.older.get(number);
  }

  private queue(name: QueueName): ReplayedQueue {
    const queue = this.queues.get(name);
    if (!queue) throw new RangeError(`No queue is called ${name}`);
    return queue;
  }

  /** @returns false for an event this program does not know */
  apply(event: JobEvent): boolean {
    switch (event[0]) {
      case 'add':
        this.added(event);
        return true;
      case 'done':
        this.done(event);
        return true;
      case 'retry':
      case 'fail':
        this.threw(event);
        return true;
      case 'back':
        for (const number of event[1]) this.putBack(number);
        return true;
      case 'gone':
        for (const number of event[1]) this.forget(number);
        return true;
      case 'died':
        if (this.accountedEpoch === event[1]) return true;
        this.accountedEpoch = event[1];
        for (const number of event[2]) this.died(number);
        return true;
      case 'pause':
        this.queue(event[1]).isPaused = event[2];
        return true;
      case 'repeat': {
        const [, queue, key, cron, text, fired] = event;
        const { repeats } = this.queue(queue);
        // A tick may have been on its way to the disk when a snapshot said this.
        const all = joined([...(repeats.get(key)?.fired ?? []), ...fired]);
        repeats.set(key, { cron, text, fired: all, isOld: false });
        return true;
      }
      case 'unrepeat':
        this.queue(event[1]).repeats.delete(event[2]);
        return true;
      default:
        return this.applySnapshot(event);
    }
  }

  private applySnapshot(event: JobEvent): boolean {
    switch (event[0]) {
      case 'begin':
        this.begin(event[1]);
        return true;
      case 'job':
        this.said(event);
        return true;
      case 'queue': {
        const [, name, isPaused, completed, failures, busyMs] = event;
        Object.assign(this.queue(name), { isPaused, completed, failures, busyMs });
        return true;
      }
      case 'end':
        this.older.clear();
        for (const { repeats } of this.queues.values())
          for (const [key, repeat] of repeats) if (repeat.isOld) repeats.delete(key);
        return true;
      default:
        return false;
    }
  }

  private added(event: Extract<JobEvent, ['add', ...unknown[]]>): void {
    const [, number, queue, id, priority, addedAtMs, dueAtMs, text, tickMs, firedBy] = event;
    this.lastNumber = Math.max(this.lastNumber, number);
    this.jobs.set(number, newJob({ number, queue, id, priority, addedAtMs, dueAtMs, text, tickMs }));
    const repeat = firedBy && this.queue(queue).repeats.get(firedBy[0]);
    if (repeat && tickMs !== undefined) repeat.fired = withFired(repeat.fired, tickMs, firedBy[1]);
  }

  private done([, number, atMs, busyMs, progress, result]: Extract<JobEvent, ['done', ...unknown[]]>): void {
    const job = this.open(number);
    if (!job) return;
    const queue = this.queue(job.queue);
    queue.completed++;
    queue.busyMs += busyMs;
    job.state = 'completed';
    job.finishedAtMs = atMs;
    job.progress = progress ?? undefined;
    job.reason = undefined;
    job.result = result ?? undefined;
    this.keepDone(job);
  }

  /** As many as are kept anyway: a long journal must not be held in memory as a whole. */
  private keepDone(job: Job): void {
    const { done } = this.queue(job.queue);
    done.push(job);
    if (done.length <= this.numbers[job.queue].keepDone) return;
    const oldest = done.shift();
    if (oldest && this.find(oldest.number) === oldest) this.forget(oldest.number);
  }

  private threw(event: Extract<JobEvent, ['retry' | 'fail', ...unknown[]]>): void {
    const job = this.open(event[1]);
    if (!job || (event[0] === 'retry' && event[2] <= job.attempts)) return;
    job.attempts = event[2];
    job.reason = event[4];
    if (event[0] === 'retry') {
      job.deaths = 0;
      job.dueAtMs = event[3];
    } else {
      job.state = 'failed';
      job.finishedAtMs = event[3];
    }
    if (event[0] === 'retry' || event[5]) this.queue(job.queue).failures++;
  }

  private putBack(number: number): void {
    const job = this.find(number);
    if (job?.state !== 'failed') return;
    job.state = 'waiting';
    job.attempts = 0;
    job.deaths = 0;
    job.dueAtMs = 0;
    job.finishedAtMs = 0;
    job.reason = undefined;
    job.progress = undefined;
  }

  private died(number: number): void {
    const job = this.open(number);
    if (job) job.deaths++;
  }

  private forget(number: number): void {
    this.jobs.delete(number);
    this.older.delete(number);
  }

  private begin(lastNumber: number): void {
    this.lastNumber = Math.max(this.lastNumber, lastNumber);
    // One that was begun before and is not whole counts as far as it goes.
    if (this.older.size === 0) [this.older, this.jobs] = [this.jobs, this.older];
    else {
      for (const job of this.jobs.values()) this.older.set(job.number, job);
      this.jobs.clear();
    }
    for (const queue of this.queues.values()) {
      // Those that it says again must not push out those that it has not said yet.
      queue.done = new Fifo();
      for (const repeat of queue.repeats.values()) repeat.isOld = true;
    }
  }

  private said(event: Extract<JobEvent, ['job', ...unknown[]]>): void {
    const [, number, queue, id, priority, addedAtMs, dueAtMs, text, tickMs, state, attempts, deaths] = event;
    const [finishedAtMs, progress, reason, result] = event.slice(12) as [number, ...(string | null)[]];
    const start = { number, queue, id, priority, addedAtMs, dueAtMs, text, tickMs: tickMs ?? undefined };
    const job = newJob(start);
    if (state !== 'open') job.state = state;
    Object.assign(job, { attempts, deaths, finishedAtMs });
    job.progress = (progress as number | null) ?? undefined;
    job.reason = reason ?? undefined;
    job.result = result ?? undefined;
    this.lastNumber = Math.max(this.lastNumber, number);
    this.forget(number);
    this.jobs.set(number, job);
    if (state === 'completed') this.keepDone(job);
  }
}

function isOpen(job: Job): boolean {
  return job.state !== 'completed' && job.state !== 'failed';
}

/** Puts a job's times onto this process's monotonic clock. */
function setTime(job: Job, wallMs: number, monotonicMs: number): void {
  if (!isOpen(job)) {
    job.sinceMs = monotonicMs - Math.max(0, wallMs - job.finishedAtMs);
    return;
  }
  // However the wall clock was put meanwhile, nobody waits longer than was asked for.
  const restMs = Math.min(job.dueAtMs - wallMs, job.dueAtMs - job.addedAtMs);
  if (restMs > 0) {
    job.state = 'delayed';
    job.sinceMs = monotonicMs + restMs;
    return;
  }
  job.state = 'waiting';
  job.sinceMs = monotonicMs - Math.max(0, wallMs - Math.max(job.addedAtMs, job.dueAtMs));
  job.dueAtMs = 0;
}
