import type { Logger } from 'pino';
import type { IngestCounters } from '../monitoring/ingest-counters.js';
import type { FailedEntry, IngestQueue } from '../queue/ingest-queue.js';
import type { QueueNumbers } from '../queue-numbers.js';

const LOOK_MS = 60_000;

type Bounds = Pick<QueueNumbers, 'keepFailed' | 'keepFailedMs'>;

/** Failed entries that are kept no longer: too old, or more than so many newer ones. */
export function outlived(failed: readonly FailedEntry[], bounds: Bounds, nowMs: number): FailedEntry[] {
  const newestFirst = [...failed].sort((a, b) => b.failedAtMs - a.failedAtMs);
  return newestFirst.filter(
    (entry, index) => index >= bounds.keepFailed || nowMs - entry.failedAtMs >= bounds.keepFailedMs,
  );
}

/** Keeps the failed set within its bounds. What is dropped is customers' data: each time it is logged and counted. */
export class FailedKeeper {
  private timer: NodeJS.Timeout | undefined;

  constructor(
    private readonly queue: Pick<IngestQueue, 'failed' | 'discardFailed'>,
    private readonly bounds: Bounds,
    private readonly counters: IngestCounters,
    private readonly log: Pick<Logger, 'warn'>,
  ) {}

  start(): void {
    this.timer = setInterval(() => {
      this.look(Date.now()).catch((error) => this.log.warn({ err: error }, 'Cannot look at the failed set'));
    }, LOOK_MS).unref();
  }

  stop(): void {
    clearInterval(this.timer);
  }

  /** Drops what has outlived its time. */
  async look(nowMs: number): Promise<void> {
    for (const entry of outlived(await this.queue.failed(), this.bounds, nowMs)) {
      // One by one: another process may be dropping the same ones, and each is counted once.
      if ((await this.queue.discardFailed([entry.id])) === 0) continue;
      const { id, signal, scope, items, failedAtMs, reason } = entry;
      this.counters.expired(signal, items);
      this.log.warn(
        { id, signal, scope, items, failedAtMs, reason },
        'Failed telemetry was kept its time; dropped',
      );
    }
  }
}
