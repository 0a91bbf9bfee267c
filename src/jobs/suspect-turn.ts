import type { Job } from './disk-job.js';

/** A job that has run so long did not end its process by being started. */
const LONG_ENOUGH_MS = 30_000;

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
