import { AppError, PermanentError } from '../errors.js';
import type { Signal } from '../signal.js';
import { sumOf } from './backlog.js';
import type { FailedFile } from './failed-set.js';
import { BatchLost, type IngestBatch, type TakeLimits } from './ingest-queue.js';
import type { QueueParts } from './queue-startup.js';
import { type Batch, readBody, type StoredEntry } from './stored-entry.js';
import { Waiters } from './waiters.js';

const GIVE_BACK_MS = 1000;
/** Of a taker that no new entry should wake. */
const NOTHING: TakeLimits = {
  maxBytes: Number.POSITIVE_INFINITY,
  maxItems: Number.POSITIVE_INFINITY,
  maxAgeMs: Number.POSITIVE_INFINITY,
};

/** The way of a batch: cut, planned, given out, and what its holder then says about it. See disk-ingest-queue.ts. */
export class BatchDesk {
  private readonly waiters = new Waiters();
  private lastBatch = 0;
  /** Since the start. */
  readonly counts = { completed: 0, failures: 0, busyMs: 0 };

  constructor(
    private readonly parts: QueueParts,
    private readonly closing: AbortSignal,
  ) {
    closing.addEventListener('abort', () => this.waiters.wakeAll());
  }

  /** A durable entry may be taken from now on. */
  enqueue(entry: StoredEntry): void {
    const lane = this.parts.backlog.lanes[entry.signal].add(entry);
    this.waiters.added(entry.signal, lane, entry.queuedAtMs);
  }

  async take(signal: Signal, limits: TakeLimits, abort: AbortSignal): Promise<IngestBatch | undefined> {
    const { backlog } = this.parts;
    while (!this.closing.aborted && !abort.aborted) {
      const nowMs = performance.now();
      const blockedMs = this.parts.pause.isOn ? Number.POSITIVE_INFINITY : this.parts.rate.waitMs(nowMs);
      if (blockedMs > 0) {
        await this.waiters.wait(signal, NOTHING, nowMs + blockedMs, abort);
        continue;
      }
      const batch = backlog.nextReady(signal, nowMs) ?? this.cutBatch(signal, limits, nowMs);
      if (batch) {
        this.parts.rate.started(nowMs);
        const given = await this.give(batch, abort);
        if (given) return given;
      } else {
        const dueAtMs = Math.min(backlog.nextReadyAtMs(signal), backlog.lanes[signal].nextDueAtMs(limits));
        await this.waiters.wait(signal, limits, dueAtMs, abort);
      }
    }
    return undefined;
  }

  /** Whoever waits looks again whether something is due. */
  lookAgain(): void {
    this.waiters.wakeAll();
  }

  async beginInsert(view: IngestBatch): Promise<void> {
    const batch = this.held(view);
    if (batch.hasBegun) return;
    batch.hasBegun = true;
    try {
      await this.parts.journal.appendPlans([batch], () => true);
    } catch (error) {
      batch.hasBegun = false;
      throw error;
    }
  }

  done(view: IngestBatch): void {
    const batch = this.held(view);
    this.counts.completed++;
    this.counts.busyMs += performance.now() - batch.givenAtMs;
    this.parts.backlog.remove(batch, true);
    // When it cannot be recorded, the batch comes again after a restart, with the same id.
    const prepare = batch.hasLeftovers ? () => this.dropLeftovers(batch) : undefined;
    this.parts.journal.finish(batch, false, prepare).catch(() => undefined);
  }

  retry(view: IngestBatch, delayMs: number): void {
    this.counts.failures++;
    this.putBack(this.held(view), delayMs);
  }

  async split(view: IngestBatch): Promise<void> {
    const batch = this.held(view);
    const { entries, signal } = batch;
    if (entries.length < 2) throw new PermanentError('A batch of one entry cannot be split');
    this.counts.failures++;
    const middle = Math.ceil(entries.length / 2);
    const halves = [entries.slice(0, middle), entries.slice(middle)].map((part) =>
      this.newBatch(part, batch.interruptions),
    );
    const { backlog, journal } = this.parts;
    batch.holder = undefined;
    try {
      await this.dropLeftovers(batch);
    } catch (error) {
      throw this.givenBack(batch, error);
    }
    batch.isSplitting = true;
    await journal.appendPlans(halves, () => false);
    backlog.remove(batch, false);
    for (const half of halves) backlog.batches.set(half.id, half);
    backlog.ready[signal].unshift(...halves);
    journal.cleaner.kick();
    this.waiters.ready(signal, Number.NEGATIVE_INFINITY);
  }

  async fail(view: IngestBatch, reason: string): Promise<void> {
    const batch = this.held(view);
    const { backlog, failed, journal, settings } = this.parts;
    this.counts.failures++;
    batch.holder = undefined;
    const files: FailedFile[] = [];
    batch.hasLeftovers = true;
    try {
      for (const [index, entry] of batch.entries.entries()) {
        const body = backlog.takeBody(entry);
        files.push(await failed.keep(batch, index, body, reason, settings.nowMs()));
        if (body) settings.bodies.give(body);
      }
    } catch (error) {
      throw this.givenBack(batch, error);
    }
    await journal.finish(batch, true);
    failed.publish(files);
    backlog.remove(batch, true);
  }

  private async dropLeftovers(batch: Batch): Promise<void> {
    if (batch.hasLeftovers) await this.parts.failed.drop(batch);
    batch.hasLeftovers = false;
  }

  /** The batch comes again, since the failed set cannot be written; returns what to throw. */
  private givenBack(batch: Batch, cause: unknown): AppError {
    this.putBack(batch, GIVE_BACK_MS);
    return new AppError('DISK_FULL', `Cannot write the failed set; batch ${batch.id} comes again`, { cause });
  }

  private cutBatch(signal: Signal, limits: TakeLimits, nowMs: number): Batch | undefined {
    const { backlog } = this.parts;
    const entries = backlog.lanes[signal].take(limits, nowMs);
    if (!entries) return undefined;
    const batch = this.newBatch(entries);
    backlog.batches.set(batch.id, batch);
    return batch;
  }

  private newBatch(entries: StoredEntry[], interruptions = 0): Batch {
    return {
      id: `${this.parts.idPrefix}-${++this.lastBatch}`,
      signal: entries[0].signal,
      scope: entries[0].scope,
      entries,
      attempt: 0,
      interruptions,
      holder: undefined,
      dueAtMs: 0,
      givenAtMs: 0,
      planSegment: 0,
      isRecorded: false,
      hasBegun: false,
      isSplitting: false,
      hasLeftovers: false,
    };
  }

  /** Gives a batch out once its plan is durable; undefined when `abort` or closing came first. */
  private async give(batch: Batch, abort: AbortSignal): Promise<IngestBatch | undefined> {
    batch.attempt++;
    batch.givenAtMs = performance.now();
    const view = this.viewOf(batch);
    batch.holder = view;
    if (batch.isRecorded) return view;
    const recorded = this.parts.journal
      .appendPlans([batch], () => true)
      .then(
        () => {
          batch.isRecorded = true;
        },
        () => undefined,
      );
    await firstOf(recorded, abort);
    if (batch.isRecorded && !abort.aborted && !this.closing.aborted) return view;
    void recorded.then(() => {
      batch.attempt--;
      this.putBack(batch, 0);
    });
    return undefined;
  }

  private putBack(batch: Batch, delayMs: number): void {
    batch.holder = undefined;
    batch.dueAtMs = performance.now() + delayMs;
    this.parts.backlog.ready[batch.signal].push(batch);
    this.waiters.ready(batch.signal, batch.dueAtMs);
  }

  private viewOf(batch: Batch): IngestBatch {
    const { id, signal, scope, attempt, interruptions } = batch;
    const entries = batch.entries.map((entry) => ({
      receivedAtMs: entry.receivedAtMs,
      retentionDays: entry.retentionDays,
      items: entry.items,
      reasons: entry.reasons,
      bytes: entry.bodyBytes,
      read: async () => {
        if (batch.holder !== view) throw new BatchLost(`Batch ${id} is not held any more`);
        return this.parts.backlog.takeBody(entry) ?? readBody(entry, this.parts.settings.bodies);
      },
    }));
    const sums = sumOf(batch.entries);
    const view: IngestBatch = { id, signal, scope, attempt, interruptions, entries, ...sums };
    return view;
  }

  private held(view: IngestBatch): Batch {
    const batch = this.parts.backlog.batches.get(view.id);
    if (batch?.holder !== view) throw new BatchLost(`Batch ${view.id} is not held by the caller`);
    return batch;
  }
}

async function firstOf(work: Promise<void>, abort: AbortSignal): Promise<void> {
  let onAbort: () => void = () => undefined;
  const aborted = new Promise<void>((resolve) => {
    onAbort = resolve;
    abort.addEventListener('abort', onAbort);
    if (abort.aborted) resolve();
  });
  try {
    await Promise.race([work, aborted]);
  } finally {
    abort.removeEventListener('abort', onAbort);
  }
}
