import type { Report } from '../journal/report.js';
import { isFired, type TickRange, Ticks } from './fired-ticks.js';
import type { JobClock } from './job.js';
import type { DiskRepeat, JobBook } from './job-book.js';

/** The wall clock may be put forward at any time, and no timer tells. */
const LOOK_MS = 1000;
/** A process that stood still so long makes up for each tick; what was missed for longer is made up for once. */
const MAX_STALL_MS = 60_000;

export interface RepeatHost {
  books: Iterable<JobBook>;
  clock: JobClock;
  /** Adds the job of a tick, and notes in the same record that the tick is over. */
  fire(book: JobBook, key: string, repeat: DiskRepeat, tickMs: number): Promise<void>;
  report: Report;
}

/**
 * Adds repeated jobs as their ticks come. Whether a tick has come is a question to the wall clock, for how long somebody
 * was looking one to the monotonic clock: so a clock that is put forward brings one job, and one put back none twice.
 */
export class RepeatTimer {
  private timer: NodeJS.Timeout | undefined;
  private isRunning = false;

  constructor(private readonly host: RepeatHost) {}

  start(): void {
    this.isRunning = true;
    this.look();
  }

  stop(): void {
    this.isRunning = false;
    clearTimeout(this.timer);
  }

  /** Looks now, and again when the next tick comes. */
  look(): void {
    if (!this.isRunning) return;
    clearTimeout(this.timer);
    const nowMs = this.host.clock.wallMs();
    let waitMs = LOOK_MS;
    for (const book of this.host.books) {
      for (const [key, repeat] of book.repeats) {
        if (!repeat.isFiring) void this.fire(book, key, repeat, nowMs);
        waitMs = Math.min(waitMs, repeat.ticks.after(nowMs) - nowMs);
      }
    }
    this.timer = setTimeout(() => this.look(), Math.max(1, waitMs));
  }

  private async fire(book: JobBook, key: string, repeat: DiskRepeat, nowMs: number): Promise<void> {
    const before = repeat.lookedAtMs;
    repeat.lookedAtMs = this.host.clock.monotonicMs();
    const sinceMs = before === undefined ? 0 : Math.min(repeat.lookedAtMs - before, MAX_STALL_MS);
    const due = dueTicks(repeat.ticks, repeat.fired, nowMs, sinceMs);
    if (due.length === 0) return;
    repeat.isFiring = true;
    try {
      for (const tickMs of due) await this.host.fire(book, key, repeat, tickMs);
    } catch (error) {
      // They are due until they are added: the next look tries again.
      repeat.lookedAtMs = before;
      const message = `Cannot add a job of the repetition ${key} of ${book.name} yet`;
      if (this.isRunning) this.host.report({ kind: 'problem', message, error });
    } finally {
      repeat.isFiring = false;
    }
  }
}

/**
 * The ticks to be added now: each that came within the last `sinceMs`, during which somebody looked, or else the last one
 * that passed; without those that were added before.
 */
export function dueTicks(
  ticks: Ticks,
  fired: readonly TickRange[],
  nowMs: number,
  sinceMs: number,
): number[] {
  const due: number[] = [];
  const last = ticks.until(nowMs);
  for (let tickMs = last; tickMs > nowMs - sinceMs; tickMs = new Ticks(ticks.cron).until(tickMs - 1))
    if (!isFired(fired, tickMs)) due.unshift(tickMs);
  if (due.length === 0 && !isFired(fired, last)) due.push(last);
  return due;
}
