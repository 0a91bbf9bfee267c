import { mkdirSync, rmSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Logger } from 'pino';
import type { StaleAnswers } from '../answers/stale-answers.js';
import type { ClickHouse } from '../connections/clickhouse.js';
import { isRetryable } from '../connections/clickhouse-errors.js';
import { AppError } from '../errors.js';
import { reach } from '../failpoints.js';
import type { Ledger } from '../ledger/ledger.js';
import type { BodyPool } from '../memory/body-pool.js';
import type { IngestCounters } from '../monitoring/ingest-counters.js';
import type { IngestBatch, IngestQueue } from '../queue/ingest-queue.js';
import { SIGNALS, type Signal } from '../signal.js';
import { writeBlock } from '../store/writer.js';
import type { TranscodeThread } from './thread.js';
import type { NativeFile } from './thread-messages.js';

/**
 * A batch is taken when it is this large or this old. Large parts are merged fewer times, but hold more memory and wait
 * longer (docs/decisions/storage.md). Under 131,072 rows a part stays compact, which is the cheap way to insert.
 */
const LIMITS = { maxBytes: 40 * 1024 * 1024, maxItems: 120_000, maxAgeMs: 300 };

/** Tries of a batch that fails by itself, before it is cut in halves to find the item that does it. */
const MAX_ATTEMPTS = 3;
const FIRST_BACKOFF_MS = 1000;
const MAX_BACKOFF_MS = 10_000;

/** Takes batches from the queue into the store: transcode off the event loop, one INSERT, done. */
export class IngestionWorker {
  private readonly stopping = new AbortController();
  private loops: Promise<void>[] = [];
  /** How often each batch has failed by itself; forgotten once it is over. */
  private readonly failures = new Map<string, number>();

  constructor(
    private readonly queue: IngestQueue,
    private readonly thread: TranscodeThread,
    private readonly bodies: BodyPool,
    private readonly clickhouse: ClickHouse,
    private readonly spoolDir: string,
    private readonly answers: StaleAnswers,
    private readonly ledger: Pick<Ledger, 'stored' | 'room' | 'flush'>,
    private readonly counters: IngestCounters,
    private readonly log: Logger,
  ) {}

  /** Starts working; what an earlier process left in the spool is dropped, the queue still has it. */
  start(): void {
    rmSync(this.spoolDir, { recursive: true, force: true });
    mkdirSync(this.spoolDir, { recursive: true });
    this.answers.dropAll();
    // One batch of a signal at a time: what arrives meanwhile makes the next one larger. Two at a time made batches
    // half as large, and merging cost more than the overlap gained.
    this.loops = SIGNALS.map((signal) => this.loop(signal));
  }

  /** Takes no more batches and resolves when those in hand are stored or handed back. */
  async stop(): Promise<void> {
    this.stopping.abort();
    await Promise.all(this.loops);
    await this.ledger.flush();
    await this.answers.close();
  }

  private async loop(signal: Signal): Promise<void> {
    while (!this.stopping.signal.aborted) {
      try {
        const batch = await this.queue.take(signal, LIMITS, this.stopping.signal);
        if (batch) await this.process(batch);
        await this.ledger.room(this.stopping.signal);
      } catch (error) {
        if (this.stopping.signal.aborted) return;
        this.log.error({ err: error, signal }, 'Ingestion could not go on; trying again in a second');
        await sleep(1000);
      }
    }
  }

  /**
   * A dependency that is away burns no tries: the batch is held and repeated, with the same token, and what arrives
   * meanwhile waits in the queue for one large batch. A batch held at the end is planned still, and comes again.
   */
  private async process(batch: IngestBatch): Promise<void> {
    reach('batch-planned');
    for (let pauseMs = FIRST_BACKOFF_MS; !this.stopping.signal.aborted; ) {
      const startedAt = performance.now();
      try {
        const rows = await this.store(batch);
        this.finish(batch, rows);
        this.counters.stored(batch.signal, rows, (performance.now() - startedAt) / 1000);
        return;
      } catch (error) {
        if (!isAway(error as Error)) return this.recover(batch, error as Error);
        const { id, signal, items } = batch;
        this.log.warn({ err: error, batch: id, signal, items, pauseMs }, 'The store is away; trying again');
        await sleep(pauseMs, undefined, { signal: this.stopping.signal }).catch(() => undefined);
        pauseMs = Math.min(pauseMs * 2, MAX_BACKOFF_MS);
      }
    }
  }

  /** The queue lets go of the batch once the ledger says where its items are. */
  private finish(batch: IngestBatch, rows: number): void {
    this.failures.delete(batch.id);
    this.ledger.stored(batch, rows, () => {
      this.queue.done(batch);
      reach('batch-done');
    });
  }

  /** @returns the number of rows stored */
  private async store(batch: IngestBatch): Promise<number> {
    const path = join(this.spoolDir, `${batch.signal}-${batch.id.replaceAll(/[^\w-]/g, '_')}.native`);
    try {
      const block = await this.transcode(batch, path);
      reach('batch-transcoded');
      if (block.rows === 0) return 0;
      const written = writeBlock(this.clickhouse, batch.scope, batch.signal, { path, ...block }, batch.id);
      reach('insert-started');
      await written;
      reach('insert-finished');
      if (block.times) this.answers.stored(batch.scope, batch.signal, block.times, Date.now());
      return block.rows;
    } finally {
      await rm(path, { force: true });
    }
  }

  private async transcode(batch: IngestBatch, file: string): Promise<NativeFile> {
    const entries = await Promise.all(
      batch.entries.map(async ({ receivedAtMs, retentionDays, read }) => ({
        window: { receivedAtMs, retentionDays },
        body: await read(),
      })),
    );
    try {
      return await this.thread.transcode({ signal: batch.signal, file, entries });
    } finally {
      for (const { body } of entries) this.bodies.give(body);
    }
  }

  /**
   * A batch that fails by itself is tried three times, while others pass it; then it is halved, until the one bad request
   * is alone and set aside.
   */
  private async recover(batch: IngestBatch, error: Error): Promise<void> {
    const { id, signal, items } = batch;
    const about = { err: error, batch: id, signal, items };
    const failures = (this.failures.get(id) ?? 0) + 1;
    if (failures < MAX_ATTEMPTS) {
      this.log.warn(about, 'Batch not stored, trying again');
      this.failures.set(id, failures);
      return this.queue.retry(batch, FIRST_BACKOFF_MS * 2 ** (failures - 1));
    }
    this.failures.delete(id);
    if (batch.entries.length > 1) {
      this.log.warn(about, 'Batch cannot be stored as it is; halving it');
      return this.queue.split(batch);
    }
    this.log.error(about, 'Request cannot be stored; set aside in the failed set');
    this.counters.failed(signal, items);
    return this.queue.fail(batch, error.message);
  }
}

/** Faults of what we depend on: the store, the disk, the thread. They pass. */
function isAway(error: Error): boolean {
  if (error instanceof AppError) return error.status === 503;
  const code = (error as NodeJS.ErrnoException).code;
  return code === 'ENOSPC' || code === 'EIO' || code === 'EDQUOT' || isRetryable(error);
}
