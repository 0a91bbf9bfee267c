import type { JobState } from '../jobs/job-queue.js';
import type { QueueName, QueueNumbers } from '../queue-numbers.js';
import { Fifo } from './fifo.js';
import { type TickRange, Ticks } from './fired-ticks.js';
import { Heap } from './heap.js';
import { type Job, type JobClock, weightOf } from './job.js';

export interface DiskRepeat {
  cron: string;
  ticks: Ticks;
  /** The payload as JSON. */
  text: string;
  fired: TickRange[];
  /** A job for a tick is on its way to the disk. */
  isFiring: boolean;
  /** When this process looked last whether a tick has come, monotonic clock; undefined: not yet. */
  lookedAtMs: number | undefined;
}

export function diskRepeat(cron: string, text: string, fired: TickRange[]): DiskRepeat {
  return { cron, ticks: new Ticks(cron), text, fired, isFiring: false, lookedAtMs: undefined };
}

/** Any number is a priority: those that nobody uses any more are dropped from time to time. */
const MAX_LANES = 64;

/** All that is known of one queue, in memory. It decides nothing about the disk: who changes it writes that down. */
export class JobBook {
  readonly ids = new Map<string, Job>();
  readonly active = new Set<Job>();
  readonly repeats = new Map<string, DiskRepeat>();
  isPaused = false;
  completedCount = 0;
  failures = 0;
  busyMs = 0;
  waiting = 0;
  delayed = 0;
  /** About how many bytes of the journal its jobs are worth. */
  weight = 0;
  /** By priority, the first to go first. */
  private lanes: { priority: number; jobs: Fifo<Job> }[] = [];
  /** What ran when a process died: before all others, but only one at a time. */
  private readonly suspects = new Fifo<Job>();
  private readonly due = new Heap<Job>((a, b) => a.sinceMs < b.sinceMs);
  /** The oldest first. */
  private readonly completed = new Map<number, Job>();
  private readonly failed = new Map<number, Job>();

  constructor(
    readonly name: QueueName,
    readonly numbers: QueueNumbers,
    private readonly clock: JobClock,
  ) {}

  /** A job that is durable. Of two with one id the later counts: the other was gone when this one was added. */
  insert(job: Job): void {
    const before = this.ids.get(job.id);
    if (before && before.number > job.number) return;
    if (before) this.forget(before);
    this.ids.set(job.id, job);
    this.weight += weightOf(job);
    this.place(job);
  }

  /** The next job to run, active from now on. @param withSuspects false: passes those over that a process died with */
  take(withSuspects: boolean): Job | undefined {
    this.promote();
    const suspect = withSuspects ? nextWaiting(this.suspects) : undefined;
    const jobs = suspect ? this.suspects : this.lanes.find((lane) => nextWaiting(lane.jobs))?.jobs;
    const job = jobs?.shift();
    if (!job) return undefined;
    this.waiting--;
    job.state = 'active';
    job.sinceMs = this.clock.monotonicMs();
    this.active.add(job);
    return job;
  }

  /** It was not worked off and waits again. */
  giveBack(job: Job): void {
    this.active.delete(job);
    job.state = 'waiting';
    job.sinceMs = this.clock.monotonicMs();
    this.place(job);
  }

  complete(job: Job, atMs: number, busyMs: number, result: string | undefined): void {
    this.completedCount++;
    this.busyMs += busyMs;
    this.move(job, 'completed', () => {
      job.finishedAtMs = atMs;
      job.reason = undefined;
      job.result = result;
    });
    this.trim();
  }

  /** @param dueAtMs wall clock; the same in `delayMs` from now */
  retry(job: Job, attempts: number, dueAtMs: number, delayMs: number, reason: string): void {
    this.failures++;
    this.move(
      job,
      'delayed',
      () => {
        job.attempts = attempts;
        job.deaths = 0;
        job.dueAtMs = dueAtMs;
        job.reason = reason;
      },
      delayMs,
    );
  }

  fail(job: Job, attempts: number, atMs: number, reason: string, threw: boolean): void {
    if (threw) this.failures++;
    this.move(job, 'failed', () => {
      job.attempts = attempts;
      job.finishedAtMs = atMs;
      job.reason = reason;
    });
    this.trim();
  }

  /** Failed jobs, all or those of the ids, wait again with all their tries. */
  putBack(ids: readonly string[] | undefined): Job[] {
    this.trim();
    const chosen = ids
      ? [...new Set(ids)].map((id) => this.ids.get(id)).filter((job) => job?.state === 'failed')
      : [...this.failed.values()];
    const jobs = chosen as Job[];
    for (const job of jobs) {
      this.failed.delete(job.number);
      this.move(job, 'waiting', () => {
        job.attempts = 0;
        job.deaths = 0;
        job.finishedAtMs = 0;
        job.reason = undefined;
        job.progress = undefined;
      });
    }
    return jobs;
  }

  /** Takes a job out that does not run. */
  forget(job: Job): void {
    if (job.state === 'waiting') this.waiting--;
    else if (job.state === 'delayed') this.delayed--;
    this.active.delete(job);
    this.completed.delete(job.number);
    this.failed.delete(job.number);
    this.weight -= weightOf(job);
    if (this.ids.get(job.id) === job) this.ids.delete(job.id);
    job.state = 'gone';
  }

  /** The job of that id, if it is still kept. */
  find(id: string): Job | undefined {
    this.tidy();
    return this.ids.get(id);
  }

  /** Jobs of a state, in the order of `JobQueues.list`. */
  list(state: JobState, offset: number, limit: number): Job[] {
    this.tidy();
    const jobs: Job[] = [];
    let seen = 0;
    for (const job of this.inOrder(state)) {
      if (jobs.length >= limit) break;
      if (job.state === state && seen++ >= offset) jobs.push(job);
    }
    return jobs;
  }

  countFailed(): number {
    this.trim();
    return this.failed.size;
  }

  /** Age of the oldest job that waits, ms. */
  lagMs(): number {
    this.promote();
    let oldest = nextWaiting(this.suspects)?.sinceMs ?? Number.POSITIVE_INFINITY;
    for (const { jobs } of this.lanes)
      oldest = Math.min(oldest, nextWaiting(jobs)?.sinceMs ?? Number.POSITIVE_INFINITY);
    return oldest === Number.POSITIVE_INFINITY ? 0 : Math.max(0, this.clock.monotonicMs() - oldest);
  }

  /** When the next delayed job is due, monotonic clock; Infinity when there is none. */
  nextDueMs(): number {
    for (let job = this.due.peek(); job; job = this.due.peek()) {
      if (job.state === 'delayed') return job.sinceMs;
      this.due.pop();
    }
    return Number.POSITIVE_INFINITY;
  }

  /** Delayed jobs that are due wait from now on. */
  promote(): void {
    if (this.delayed === 0) return;
    const nowMs = this.clock.monotonicMs();
    while (this.nextDueMs() <= nowMs) {
      const job = this.due.pop();
      if (!job) return;
      this.delayed--;
      job.state = 'waiting';
      job.dueAtMs = 0;
      this.place(job);
    }
  }

  /** What time alone has changed: delayed jobs that are due wait, old ones are forgotten. */
  tidy(): void {
    this.promote();
    this.trim();
  }

  private move(job: Job, state: JobState, change: () => void, delayMs = 0): void {
    this.active.delete(job);
    this.weight -= weightOf(job);
    change();
    job.state = state;
    job.sinceMs = this.clock.monotonicMs() + delayMs;
    this.weight += weightOf(job);
    this.place(job);
  }

  private place(job: Job): void {
    if (job.state === 'waiting') {
      this.waiting++;
      if (job.deaths > 0) this.suspects.push(job);
      else this.laneOf(job.priority).push(job);
    } else if (job.state === 'delayed') {
      this.delayed++;
      this.due.push(job);
    } else if (job.state === 'completed') this.completed.set(job.number, job);
    else if (job.state === 'failed') this.failed.set(job.number, job);
  }

  private laneOf(priority: number): Fifo<Job> {
    if (this.lanes.length > MAX_LANES) this.lanes = this.lanes.filter((lane) => nextWaiting(lane.jobs));
    let at = this.lanes.findIndex((lane) => lane.priority >= priority);
    if (at < 0) at = this.lanes.length;
    if (this.lanes[at]?.priority !== priority) this.lanes.splice(at, 0, { priority, jobs: new Fifo() });
    return this.lanes[at].jobs;
  }

  private *inOrder(state: JobState): Generator<Job> {
    if (state === 'completed') yield* [...this.completed.values()].reverse();
    else if (state === 'failed') yield* [...this.failed.values()].reverse();
    else if (state === 'active') yield* this.active;
    else if (state === 'delayed') yield* this.due.inOrder();
    else {
      yield* this.suspects;
      for (const { jobs } of this.lanes) yield* jobs;
    }
  }

  /** Forgets done and failed jobs over their number or age. Ages are of the monotonic clock: a jump drops nothing. */
  private trim(): void {
    const { keepDone, keepDoneMs, keepFailed, keepFailedMs } = this.numbers;
    const nowMs = this.clock.monotonicMs();
    for (const job of this.completed.values()) {
      if (this.completed.size <= keepDone && nowMs - job.sinceMs < keepDoneMs) break;
      this.forget(job);
    }
    for (const job of this.failed.values()) {
      if (this.failed.size <= keepFailed && nowMs - job.sinceMs < keepFailedMs) break;
      this.forget(job);
    }
  }
}

/** What waits first, without those that were taken away meanwhile. */
function nextWaiting(jobs: Fifo<Job>): Job | undefined {
  for (let job = jobs.peek(); job; job = jobs.peek()) {
    if (job.state === 'waiting') return job;
    jobs.shift();
  }
  return undefined;
}
