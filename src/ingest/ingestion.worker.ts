import { mkdirSync, rmSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Logger } from 'pino';
import type { StaleAnswers } from '../answers/stale-answers.js';
import type { ClickHouse } from '../connections/clickhouse.js';
import { isRetryable } from '../connections/clickhouse-errors.js';
import { AppError, PermanentError } from '../errors.js';
import { reach } from '../failpoints.js';
import type { Ledger } from '../ledger/ledger.js';
import type { BodyPool } from '../memory/body-pool.js';
import type { IngestCounters } from '../monitoring/ingest-counters.js';
import { BatchLost, type IngestBatch, type IngestQueue } from '../queue/ingest-queue.js';
import type { QueueNumbers } from '../queue-numbers.js';
import type { TouchedHours } from '../series/touched-hours.js';
import { writeBlock } from '../store/writer.js';
import type { TranscodePool } from '../threads/thread.js';
import { type BlockTimes, type NativeFile, ThreadError } from '../threads/thread-messages.js';
import { TrialLost } from '../threads/trial.js';
import { BatchHands } from './batch-hands.js';

const MAX_BACKOFF_MS = 10_000;
const DAY_MS = 86_400_000;

/** Takes batches from the queue into the store: transcode off the event loop, one INSERT, done. */
export class IngestionWorker {
  private readonly stopping = new AbortController();
  private readonly hands: BatchHands;
  /** How often each batch has failed by itself; forgotten once it is over. */
  private readonly failures = new Map<string, number>();

  constructor(
    private readonly queue: IngestQueue,
    private readonly threads: TranscodePool,
    private readonly bodies: BodyPool,
    private readonly clickhouse: ClickHouse,
    private readonly spoolDir: string,
    private readonly answers: StaleAnswers,
    private readonly touchedHours: TouchedHours,
    private readonly ledger: Pick<Ledger, 'stored' | 'room' | 'flush'>,
    private readonly counters: IngestCounters,
    private readonly numbers: Pick<QueueNumbers, 'workers' | 'tries' | 'firstBackoffMs'>,
    private readonly log: Logger,
  ) {
    const work = (batch: IngestBatch) => this.work(batch);
    this.hands = new BatchHands(queue, threads.size, numbers.workers, work, log);
  }

  /** Starts working; what an earlier process left in the spool is dropped, the queue still has it. */
  start(): void {
    rmSync(this.spoolDir, { recursive: true, force: true });
    mkdirSync(this.spoolDir, { recursive: true });
    this.answers.dropAll();
    this.hands.start(this.stopping.signal);
  }

  /** How many batches are in hand at once, from now on. */
  setWorkers(workers: number): void {
    this.hands.setWorkers(workers);
  }

  /** Takes no more batches and resolves when those in hand are stored or handed back. */
  async stop(): Promise<void> {
    this.stopping.abort();
    await this.hands.empty();
    await this.ledger.flush();
    await this.answers.close();
  }

  private async work(batch: IngestBatch): Promise<void> {
    try {
      await this.process(batch);
    } catch (error) {
      if (!(error instanceof BatchLost)) throw error;
      const { id, signal, items } = batch;
      this.log.warn({ batch: id, signal, items }, 'Another process has this batch now');
    }
  }

  /**
   * A dependency that is away burns no tries: the batch is held and repeated, with the same token, and what arrives
   * meanwhile waits in the queue for one large batch. A batch held at the end is planned still, and comes again.
   */
  private async process(batch: IngestBatch): Promise<void> {
    reach('batch-planned');
    for (let pauseMs = this.numbers.firstBackoffMs; !this.stopping.signal.aborted; ) {
      const startedAt = performance.now();
      try {
        const rows = await this.store(batch);
        this.finish(batch, rows);
        this.counters.stored(batch.signal, rows, (performance.now() - startedAt) / 1000);
        return;
      } catch (error) {
        if (error instanceof BatchLost) throw error;
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
      await this.noteHours(batch, block.times);
      await this.unlessStopped(this.queue.beginInsert(batch, blocksOf(block)));
      const written = writeBlock(this.clickhouse, batch.scope, batch.signal, { path, ...block }, batch.id);
      reach('insert-started');
      await written;
      reach('insert-finished');
      await this.noteHours(batch, block.times);
      if (block.times) this.answers.stored(batch.scope, batch.signal, block.times, Date.now());
      return block.rows;
    } finally {
      await rm(path, { force: true });
    }
  }

  /** Rollups of the hours are no longer whole. */
  private async noteHours({ signal, scope }: IngestBatch, times: BlockTimes | undefined): Promise<void> {
    if (signal === 'metrics' && times) await this.touchedHours.note(scope, times.hoursMs);
  }

  /** What the queue writes down can take as long as a disk is full; an orderly stop does not wait for that. */
  private async unlessStopped(writing: Promise<void>): Promise<void> {
    const { signal } = this.stopping;
    let stop = () => {};
    const stopped = new Promise<never>((_, reject) => {
      stop = () => reject(new AppError('SHUTTING_DOWN', 'The program is stopping'));
    });
    signal.addEventListener('abort', stop);
    try {
      await Promise.race([writing, stopped]);
    } finally {
      signal.removeEventListener('abort', stop);
      writing.catch(() => undefined);
    }
  }

  /** A batch that a process ended with may be why: it is tried where an end costs nothing. */
  private async transcode(batch: IngestBatch, file: string): Promise<NativeFile> {
    const entries = await Promise.all(
      batch.entries.map(async ({ receivedAtMs, retentionDays, read }) => ({
        window: { receivedAtMs, retentionDays },
        body: await read(),
      })),
    );
    const request = { signal: batch.signal, file, entries };
    try {
      if (batch.interruptions === 0) return await this.threads.transcode(request);
      return await this.threads.transcodeApart(request);
    } finally {
      for (const { body } of entries) this.bodies.give(body);
    }
  }

  /**
   * A batch that fails by itself is tried some times, while others pass it; then it is halved, until the one bad request
   * is alone and set aside. One that ended the process it was tried in is halved at once: only a request that is alone gets its other
   * tries, for something else may have ended it, a want of memory say.
   */
  private async recover(batch: IngestBatch, error: Error): Promise<void> {
    const { id, signal, items } = batch;
    const about = { err: error, batch: id, signal, items };
    const failures = (this.failures.get(id) ?? 0) + 1;
    const isToHalve = error instanceof TrialLost && batch.entries.length > 1;
    if (failures < this.numbers.tries && !isToHalve) {
      this.log.warn(about, 'Batch not stored, trying again');
      this.failures.set(id, failures);
      return this.queue.retry(batch, this.numbers.firstBackoffMs * 2 ** (failures - 1));
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

/** Parts of the table that the insert makes at most: one for each day that its rows can be of. */
function blocksOf({ times }: NativeFile): number {
  return times ? Math.floor(times.maxMs / DAY_MS) - Math.floor(times.minMs / DAY_MS) + 1 : 1;
}

/** Faults of what we depend on: the store, the disk, the thread. They pass. */
function isAway(error: Error): boolean {
  if (error instanceof AppError) return error.status === 503;
  if (error instanceof PermanentError) return false;
  if (error instanceof ThreadError) return error.code !== undefined;
  const code = (error as NodeJS.ErrnoException).code;
  return code === 'ENOSPC' || code === 'EIO' || code === 'EDQUOT' || isRetryable(error);
}
