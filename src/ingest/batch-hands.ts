import { setTimeout as sleep } from 'node:timers/promises';
import type { Logger } from 'pino';
import type { IngestBatch, IngestQueue, TakeLimits } from '../queue/ingest-queue.js';
import { SIGNALS, type Signal } from '../signal.js';
import { Slots } from './slots.js';

/**
 * A batch is taken when it is this large or this old. Large parts are merged fewer times, but hold more memory and wait
 * longer (docs/decisions/storage.md). Under 131,072 rows a part stays compact, which is the cheap way to insert.
 */
const LIMITS: TakeLimits = { maxBytes: 40 * 1024 * 1024, maxItems: 120_000, maxAgeMs: 300 };
/** Of a taker that wants a full batch or none. */
const FULL: TakeLimits = { ...LIMITS, maxAgeMs: 86_400_000 };
/** With fewer workers than signals they take turns in waiting. */
const TURN_MS = 200;

/**
 * Takes batches, as many at once as there are workers. Of each signal there is one in hand: what arrives meanwhile makes the
 * next one larger. Two at a time made batches half as large, and merging cost more than the overlap gained. Only when
 * full batches wait is another one taken beside it, one more for each thread that can make batches.
 */
export class BatchHands {
  private readonly first = new Slots(0);
  private readonly more = new Slots(0);
  private loops: Promise<void>[] = [];

  /** @param work must not throw but for faults of ours */
  constructor(
    private readonly queue: Pick<IngestQueue, 'take'>,
    private readonly threads: number,
    workers: number,
    private readonly work: (batch: IngestBatch) => Promise<void>,
    private readonly log: Pick<Logger, 'error'>,
  ) {
    this.setWorkers(workers);
  }

  /** How many batches are in hand at once, from now on. */
  setWorkers(workers: number): void {
    this.first.limit = Math.min(workers, SIGNALS.length);
    this.more.limit = Math.min(Math.max(0, workers - SIGNALS.length), this.threads);
  }

  /** Takes batches until `stopping` fires. */
  start(stopping: AbortSignal): void {
    this.loops = SIGNALS.map((signal) => this.loop(signal, stopping));
  }

  /** Resolves when nothing is in hand any more; after `stopping`. */
  async empty(): Promise<void> {
    await Promise.all(this.loops);
  }

  private async loop(signal: Signal, stopping: AbortSignal): Promise<void> {
    const inHand = new Set<Promise<void>>();
    while (!stopping.aborted) {
      const slots = inHand.size === 0 ? this.first : this.more;
      try {
        const batch = await this.next(signal, slots, inHand, stopping);
        if (!batch) continue;
        const working: Promise<void> = this.work(batch)
          .catch((error) => this.failed(signal, error, stopping))
          .finally(() => {
            inHand.delete(working);
            slots.give();
          });
        inHand.add(working);
      } catch (error) {
        await this.failed(signal, error, stopping);
      }
    }
    await Promise.all(inHand);
  }

  /** A batch, with a slot for it; undefined, without: look again what may be taken. */
  private async next(
    signal: Signal,
    slots: Slots,
    inHand: ReadonlySet<Promise<void>>,
    stopping: AbortSignal,
  ): Promise<IngestBatch | undefined> {
    const calledOff = new AbortController();
    const callOff = () => calledOff.abort();
    stopping.addEventListener('abort', callOff);
    if (inHand.size > 0) void Promise.race(inHand).then(callOff);
    let turn: NodeJS.Timeout | undefined;
    let batch: IngestBatch | undefined;
    try {
      if (!(await slots.take(calledOff.signal))) return undefined;
      try {
        if (slots === this.first && slots.limit < SIGNALS.length) turn = setTimeout(callOff, TURN_MS);
        batch = await this.queue.take(signal, inHand.size === 0 ? LIMITS : FULL, calledOff.signal);
      } finally {
        if (!batch) slots.give();
      }
    } finally {
      clearTimeout(turn);
      stopping.removeEventListener('abort', callOff);
    }
    return batch;
  }

  private async failed(signal: Signal, error: unknown, stopping: AbortSignal): Promise<void> {
    if (stopping.aborted) return;
    this.log.error({ err: error, signal }, 'Ingestion could not go on; trying again in a second');
    await sleep(1000);
  }
}
