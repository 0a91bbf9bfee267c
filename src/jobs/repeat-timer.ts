import type { Report } from '../journal/report.js';
import { isFired } from './cron-line.js';
import type { JobClock } from './disk-job.js';
import type { DiskRepeat, JobBook } from './disk-job-book.js';

/** The wall clock may be put forward at any time, and no timer tells. */
const LOOK_MS = 1000;

export interface RepeatHost {
  books: Iterable<JobBook>;
  clock: JobClock;
  /** Adds the job of a tick, and notes in the same record that the tick is over. */
  fire(book: JobBook, key: string, repeat: DiskRepeat, tickMs: number): Promise<void>;
  report: Report;
}

/**
 * Adds repeated jobs as their ticks come. What is due is the last tick that has passed, unless it was added before: so
 * ticks that were missed are made up for once, and a clock that is put back brings nothing twice.
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
        const tickMs = repeat.line.lastAt(nowMs);
        if (!repeat.isFiring && !isFired(repeat.fired, tickMs)) this.fire(book, key, repeat, tickMs);
        waitMs = Math.min(waitMs, repeat.line.nextAfter(nowMs) - nowMs);
      }
    }
    this.timer = setTimeout(() => this.look(), Math.max(1, waitMs));
  }

  private fire(book: JobBook, key: string, repeat: DiskRepeat, tickMs: number): void {
    repeat.isFiring = true;
    this.host
      .fire(book, key, repeat, tickMs)
      // It is due until it is added: the next look tries again.
      .catch((error) => {
        if (!this.isRunning) return;
        const message = `Cannot add the job ${key}:${tickMs} of ${book.name} yet`;
        this.host.report({ kind: 'problem', message, error });
      })
      .finally(() => {
        repeat.isFiring = false;
      });
  }
}
