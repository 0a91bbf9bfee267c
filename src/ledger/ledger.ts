import { randomUUID } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import type { OnApplicationBootstrap, OnModuleDestroy } from '@nestjs/common';
import type { Logger } from 'pino';
import type { ClickHouse } from '../connections/clickhouse.js';
import { isRetryable } from '../connections/clickhouse-errors.js';
import type { Scope } from '../edge/scope.js';
import { reach } from '../failpoints.js';
import type { TimeRange } from '../http/time.js';
import type { FailedEntry, IngestBatch, IngestQueue, Rejections } from '../queue/ingest-queue.js';
import type { Signal } from '../signal.js';
import { Asking, type Meta } from '../store/statement.js';
import { isCanary } from './canary-scope.js';
import { balance, type LedgerSum, type Minutes, minutesIn, type SignalBalance } from './ledger-balance.js';
import {
  addRow,
  type LedgerEntry,
  type LedgerRow,
  recordEntries,
  rejectedRows,
  rowsOfBatch,
} from './ledger-rows.js';
import { readAllSums, readSums } from './ledger-sums.js';

/** Batches that end within this time share one insert, so that the ledger costs the same however many there are. */
const WRITE_EVERY_MS = 1000;
/** After a quiet time a batch waits only so long for others. */
const FIRST_WAIT_MS = 50;
const RETRY_MS = 1000;
const MAX_READING_MS = 10_000;
/** Batches in the store and still in the queue: after a crash they come again, and the store knows the last 1,000 tokens of a table. */
const MAX_PENDING = 300;
const LOOK_MS = 100;
/** Tries of rows that the store refuses by themselves; after that the queue goes on without them. */
const MAX_TRIES = 3;

interface Pending extends LedgerEntry {
  /** Of a batch: its entries wait in the queue until then. */
  whenWritten?: () => void;
}

export interface LedgerAnswer extends Minutes {
  data: SignalBalance[];
  meta: Meta;
}

/**
 * Where each item is. What has left the queue is in a table of the store, what has not is asked of the queue itself. A batch's rows
 * are durable before the queue lets go of it, and repeating them changes nothing, so a crash at any point leaves both sides equal.
 */
export class Ledger implements OnApplicationBootstrap, OnModuleDestroy {
  private readonly pending: Pending[] = [];
  /** Of requests that were rejected whole: in no queue, so a crash loses both sides of at most a second. */
  private readonly rejections = new Map<string, LedgerRow>();
  private timer: NodeJS.Timeout | undefined;
  private writtenAtMs = Number.NEGATIVE_INFINITY;
  private tries = 0;
  private lastTurn: Promise<unknown> = Promise.resolve();

  constructor(
    private readonly clickhouse: ClickHouse,
    private readonly queue: IngestQueue,
    private readonly log: Logger,
  ) {}

  /** What an earlier process discarded and perhaps did not record. */
  onApplicationBootstrap(): void {
    const resume = async () => {
      const ids = (await this.queue.failed()).filter(({ isDiscarded }) => isDiscarded).map(({ id }) => id);
      if (ids.length > 0) await this.queue.discardFailed(ids, (entries) => this.recordDropped(entries));
    };
    this.inTurn(resume).catch((error) =>
      this.log.error({ err: error }, 'Discarded entries stay in the failed set'),
    );
  }

  /** A request of which nothing is good: acknowledged, and in no queue. */
  rejected(scope: Scope, signal: Signal, atMs: number, reasons: Rejections): void {
    if (isCanary(scope)) return;
    for (const row of rejectedRows({ scope, signal, atMs }, reasons)) addRow(this.rejections, row);
    this.schedule();
  }

  /**
   * A batch is in the store. `done` is called when that is in the ledger too, durably: a second later at most, or when the
   * store is back; not when the process ends before, and then the batch comes again.
   *
   * @param stored rows of its INSERT
   */
  stored(batch: IngestBatch, stored: number, done: () => void): void {
    if (isCanary(batch.scope)) {
      done();
      return;
    }
    this.pending.push({ token: batch.id, rows: rowsOfBatch(batch, stored), whenWritten: done });
    this.schedule();
  }

  /** Resolves when not too many batches wait to be written down, or `abort` fires. */
  async room(abort: AbortSignal): Promise<void> {
    while (this.pending.length >= MAX_PENDING && !abort.aborted)
      await sleep(LOOK_MS, undefined, { signal: abort }).catch(() => undefined);
  }

  /** Deletes failed entries for good and writes down that they were; returns how many. */
  dropFailed(ids: readonly string[]): Promise<number> {
    return this.inTurn(() => this.queue.discardFailed(ids, (entries) => this.recordDropped(entries)));
  }

  /**
   * The accounts of a tenant for what arrived in the minutes that a range touches. While it reads, nothing moves from the queue of
   * this process into the ledger, so no item is seen twice or not at all.
   *
   * @throws AppError as `Asking.rows`
   */
  async read(scope: Scope, range: TimeRange, caller: AbortSignal): Promise<LedgerAnswer> {
    const minutes = minutesIn(range);
    // The queue must not wait for a store that doesn't answer.
    const signal = AbortSignal.any([caller, AbortSignal.timeout(MAX_READING_MS)]);
    const asking = new Asking(this.clickhouse, signal);
    const data = await this.account(scope, minutes, () => readSums(scope, asking, minutes));
    return { ...minutes, data, meta: asking.cost.meta() };
  }

  /** The same of all tenants together, for the program's own figures. @throws ClickHouseError */
  readAll(range: TimeRange): Promise<SignalBalance[]> {
    const minutes = minutesIn(range);
    return this.account(undefined, minutes, () => readAllSums(this.clickhouse, minutes, MAX_READING_MS));
  }

  private account(
    scope: Scope | undefined,
    minutes: Minutes,
    read: () => Promise<LedgerSum[]>,
  ): Promise<SignalBalance[]> {
    return this.inTurn(async () => {
      const failed = (await this.queue.failed()).filter((entry) => !isCanary(entry.scope));
      const waiting = (await this.queue.waiting()).filter((lane) => !isCanary(lane.scope));
      const unwritten = [
        ...this.rejections.values(),
        ...this.pending.filter(({ whenWritten }) => !whenWritten).flatMap(({ rows }) => rows),
      ];
      return balance(scope, minutes, await read(), { waiting, failed, unwritten });
    });
  }

  /** Writes what is pending now. What the store does not take stays pending. */
  flush(): Promise<void> {
    clearTimeout(this.timer);
    this.timer = undefined;
    return this.inTurn(() => this.write());
  }

  async onModuleDestroy(): Promise<void> {
    await this.flush();
    clearTimeout(this.timer);
  }

  private schedule(delayMs = FIRST_WAIT_MS): void {
    const dueMs = Math.max(delayMs, this.writtenAtMs + WRITE_EVERY_MS - performance.now());
    this.timer ??= setTimeout(() => void this.flush(), dueMs);
  }

  private async write(): Promise<void> {
    if (this.rejections.size > 0)
      this.pending.push({ token: randomUUID(), rows: [...this.rejections.values()] });
    this.rejections.clear();
    const group = [...this.pending];
    if (group.length === 0) return;
    this.writtenAtMs = performance.now();
    try {
      await recordEntries(this.clickhouse, group);
      reach('ledger-written');
    } catch (error) {
      const isLost = !isRetryable(error) && ++this.tries >= MAX_TRIES;
      const items = group.flatMap(({ rows }) => rows).reduce((sum, row) => sum + row.items, 0);
      this.log.error({ err: error, entries: group.length, items, isLost }, 'The ledger could not be written');
      if (!isLost) return this.schedule(RETRY_MS);
    }
    this.tries = 0;
    this.pending.splice(0, group.length);
    for (const { token, whenWritten } of group) this.finish(token, whenWritten);
    if (this.pending.length > 0) this.schedule();
  }

  private finish(token: string, whenWritten: (() => void) | undefined): void {
    try {
      whenWritten?.();
    } catch (error) {
      this.log.error({ err: error, batch: token }, 'A stored batch could not be taken out of the queue');
    }
  }

  private async recordDropped(entries: readonly FailedEntry[]): Promise<void> {
    const rowsOf = ({ scope, signal, receivedAtMs: atMs, items, reasons }: FailedEntry): LedgerRow[] => [
      { scope, signal, atMs, outcome: 'received', reason: '', items },
      { scope, signal, atMs, outcome: 'dropped', reason: '', items },
      ...rejectedRows({ scope, signal, atMs }, reasons),
    ];
    await recordEntries(
      this.clickhouse,
      entries.map((entry) => ({ token: `dropped ${entry.id}`, rows: rowsOf(entry) })),
    );
  }

  /** One after the other. */
  private inTurn<T>(work: () => Promise<T>): Promise<T> {
    const result = this.lastTurn.then(work);
    this.lastTurn = result.catch(() => undefined);
    return result;
  }
}
