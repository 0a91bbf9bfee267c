import { AppError } from '../errors.js';
import type { Signal } from '../signal.js';
import { BatchDesk } from './batch-desk.js';
import type {
  AddResult,
  FailedEntry,
  IngestBatch,
  IngestEntry,
  IngestQueue,
  TakeLimits,
  WaitingLane,
} from './ingest-queue.js';
import { ownerKey } from './lanes.js';
import { type EntryMeta, metaOf } from './queue-records.js';
import { type DiskQueueOptions, type QueueParts, startQueue } from './queue-startup.js';
import { type DiskQueueStats, queueStats } from './queue-stats.js';
import { costOf, type StoredEntry, storedEntry } from './stored-entry.js';

/** What the client of a body was told. */
interface Told {
  rejected: number;
  note: string;
}

/**
 * The ingestion queue on the disk journal; ingest-queue.ts says what it promises. Here is why a crash between any two
 * steps keeps that. "Durable" is: written, fdatasync returned, file name synced.
 *
 * 1. `add`: entry record durable -> answered. Before: nobody was told; the entry may come back and then counts as
 *    seen, so the client's second try is folded. Refused although bytes may be on disk: what counts in that segment
 *    is written down before or together with the next acknowledgement (live or void record), because the client
 *    sends the body again.
 * 2. `take`: plan record (id, exact entries) durable -> given out. Before: nobody used the id. After: every restart
 *    gives the same batch with the same id until it is done, so the insert is repeated with the same token. `beginInsert`
 *    writes it again: a batch whose insert began is never split because its process ended.
 * 3. `done`: recorded, durable a little later. A crash before gives the batch once more: the store folds it by its
 *    token. The record names the entries, so it holds even if the plan is lost.
 * 4. `split`: one plan record with both halves; of the plans that name an entry the latest counts. Before it is
 *    durable the old batch stands, after it the halves do.
 * 5. `fail`: file durable -> done record durable. In between the batch is still live: at the start its file is
 *    dropped and the batch comes again. `retryFailed`: entry record (with the file's name) durable -> file deleted,
 *    durably -> may be taken. In between: at the start the file is dropped.
 * 6. A segment is deleted when its entries are durably done and what only it says is durable elsewhere: bodies seen
 *    in the last ten minutes, plans of live batches, and which entries of other segments are done (segment-cleaner.ts).
 *    One at a time, directory synced, so that no later deletion relies on one that is not durable.
 * 7. Ids of batches start with the directory's random identity and a random number of this process, then count: an id
 *    never repeats, whatever was deleted, damaged or copied.
 *
 * What damaged bytes can do: a lost entry record loses that entry (its bytes are set aside); the rest of its batch
 * keeps the id. A lost done record gives a batch again, with its id. A lost plan record gives its entries again under
 * a new id, a lost split record under the old one, a lost live record those that were done in the segment it was
 * about: if they had been inserted, they are then stored twice. That is the only way to duplicates here.
 */
export class DiskIngestQueue implements IngestQueue {
  /** Bodies being written, by key: what their duplicates wait for; undefined if it failed. */
  private readonly adding = new Map<string, Promise<Told | undefined>>();
  /** Entries back in the journal whose file in the failed set could not be deleted yet, by file. */
  private readonly requeued = new Map<string, StoredEntry>();
  private readonly closing = new AbortController();
  private closed: Promise<void> | undefined;
  private duplicates = 0;

  private readonly desk: BatchDesk;

  private constructor(private readonly parts: QueueParts) {
    this.desk = new BatchDesk(parts, this.closing.signal);
  }

  /** Opens or creates the queue's directory. Damaged files are reported, never a reason not to start. */
  static async open(options: DiskQueueOptions): Promise<DiskIngestQueue> {
    return new DiskIngestQueue(await startQueue(options));
  }

  async add(entry: IngestEntry): Promise<AddResult> {
    const { seen } = this.parts;
    const key = seen.key(ownerKey(entry.signal, entry.scope), entry.contentHash);
    const name = Buffer.from(key.buffer).toString('latin1');
    for (;;) {
      this.assertOpen();
      const told = this.adding.has(name) ? await this.adding.get(name) : seen.find(key);
      if (told) {
        this.duplicates++;
        return { duplicate: true, rejected: told.rejected, note: told.note };
      }
      if (!this.adding.has(name)) break;
    }
    this.assertRoom(entry.body.length);
    const { rejected, note } = entry;
    const meta = metaOf(entry, this.parts.settings.nowMs());
    const writing = this.write(meta, entry.body, (stored) => {
      seen.add({ key, addedAtMs: meta.addedAtMs, rejected, note });
      this.desk.enqueue(stored);
    });
    const told = writing.then(
      () => ({ rejected, note }),
      () => undefined,
    );
    this.adding.set(name, told);
    try {
      await writing;
    } finally {
      this.adding.delete(name);
    }
    return { duplicate: false };
  }

  take(signal: Signal, limits: TakeLimits, abort: AbortSignal): Promise<IngestBatch | undefined> {
    return this.desk.take(signal, limits, abort);
  }

  /** The store's window needs no care here: what a process held when it ended comes first after the restart. */
  beginInsert(batch: IngestBatch): Promise<void> {
    return this.desk.beginInsert(batch);
  }

  done(batch: IngestBatch): void {
    this.desk.done(batch);
  }

  retry(batch: IngestBatch, delayMs: number): void {
    this.desk.retry(batch, delayMs);
  }

  split(batch: IngestBatch): Promise<void> {
    return this.desk.split(batch);
  }

  fail(batch: IngestBatch, reason: string): Promise<void> {
    return this.desk.fail(batch, reason);
  }

  async failed(): Promise<FailedEntry[]> {
    return this.parts.failed.list().map(({ retentionDays: _, ...entry }) => entry);
  }

  async retryFailed(ids?: readonly string[]): Promise<number> {
    this.assertOpen();
    const { failed } = this.parts;
    await this.releaseRequeued();
    const requeue = async (id: string, meta: EntryMeta, body: Uint8Array) => {
      this.requeued.set(id, await this.write(meta, body));
    };
    return failed.retry(ids, requeue, () => this.releaseRequeued());
  }

  async discardFailed(
    ids: readonly string[],
    record?: (entries: readonly FailedEntry[]) => Promise<void>,
  ): Promise<number> {
    return this.parts.failed.discard(ids, record);
  }

  /** An entry that came back may be taken once its file is gone, or it could come back twice. */
  private async releaseRequeued(): Promise<void> {
    for (const [id, stored] of this.requeued) {
      try {
        await this.parts.failed.remove(id);
      } catch (cause) {
        throw new AppError('DISK_FULL', `Cannot delete the file of failed entry ${id}; try again`, { cause });
      }
      if (this.requeued.delete(id)) this.desk.enqueue(stored);
    }
  }

  async pause(): Promise<void> {
    await this.parts.pause.turnOn();
  }

  async resume(): Promise<void> {
    await this.parts.pause.turnOff();
    this.desk.lookAgain();
  }

  stats(): DiskQueueStats {
    return queueStats(this.parts, this.duplicates, this.desk.counts);
  }

  waiting(): WaitingLane[] {
    return this.parts.backlog.waiting(this.parts.settings.nowMs());
  }

  close(): Promise<void> {
    this.closed ??= this.shutDown();
    return this.closed;
  }

  private async shutDown(): Promise<void> {
    const { backlog, journal } = this.parts;
    this.closing.abort();
    const planned = [...backlog.batches.values()].filter((batch) => batch.isRecorded && !batch.isSplitting);
    // So that the next process does not take them for batches this one died with.
    if (planned.length > 0) journal.appendPlans(planned, () => false).catch(() => undefined);
    await journal.close();
  }

  private assertOpen(): void {
    if (this.closing.signal.aborted) throw new AppError('SHUTTING_DOWN', 'The program is stopping');
  }

  private assertRoom(bodyBytes: number): void {
    const { backlog, failed, journal, settings } = this.parts;
    const waiting = backlog.costBytes + failed.bytes;
    if (waiting + costOf(bodyBytes) > settings.maxBacklogBytes) {
      const allowed = settings.maxBacklogBytes;
      throw new AppError('BACKLOG_FULL', `${waiting} of ${allowed} bytes wait for the store`, {
        retryAfterSeconds: 1,
      });
    }
    const { pendingBytes } = journal.journal;
    if (pendingBytes > 0 && pendingBytes + bodyBytes > settings.maxPendingBytes) {
      throw new AppError('BACKLOG_FULL', `${pendingBytes} bytes wait for the disk`, { retryAfterSeconds: 1 });
    }
  }

  /** Resolves when the entry is durable; `onDurable` is called in the same step as it becomes so. */
  private write(
    meta: EntryMeta,
    body: Uint8Array,
    onDurable?: (entry: StoredEntry) => void,
  ): Promise<StoredEntry> {
    const { backlog, journal, ledger } = this.parts;
    const bodyBytes = body.length;
    backlog.costBytes += costOf(bodyBytes);
    return new Promise((resolve, reject) => {
      journal.appendEntry(
        meta,
        body,
        (id, place) => {
          const entry = storedEntry({ id, meta, bodyBytes, place }, performance.now(), body);
          ledger.stored(entry);
          backlog.count(entry);
          onDurable?.(entry);
          resolve(entry);
        },
        (cause) => {
          backlog.costBytes -= costOf(bodyBytes);
          if (cause instanceof AppError) reject(cause);
          else
            reject(new AppError('DISK_FULL', 'The disk takes no more data', { retryAfterSeconds: 1, cause }));
        },
      );
    });
  }
}
