import { join } from 'node:path';
import { PermanentError } from '../errors.js';
import { readFully, readWhole, removeIfThere, writeDurably } from '../journal/durable-files.js';
import type { FileSystem } from '../journal/file-system.js';
import { HEADER_BYTES, readRecord, writeHeader } from '../journal/record.js';
import type { Report } from '../journal/report.js';
import type { FailedEntry } from './ingest-queue.js';
import type { EntryMeta } from './queue-records.js';
import { type Batch, readPayload, type StoredEntry, salvageBody } from './stored-entry.js';

/** The file of a failed entry: one journal record with this marker; payload = length, `FailedFile` as JSON, body. */
const MARKER = Buffer.from('TFFAILED');
const FAILED_RECORD = 1;
const SUFFIX = '.failed';
/** Discarded for good, kept until that is recorded elsewhere. */
const DISCARDED_SUFFIX = '.discarded';
const LENGTH_BYTES = 4;
const MAX_REASON_LENGTH = 2000;
/** Larger than any meta; the body is not read for a listing. */
const META_READ_BYTES = 64 * 1024;

/** What is kept of an entry besides its body. */
export interface FailedFile extends FailedEntry {
  retentionDays: number;
}

type Requeue = (id: string, meta: EntryMeta, body: Uint8Array) => Promise<void>;

/** Entries that were given up, one file each, so that one can be looked at, retried or deleted alone. */
export class FailedSet {
  bytes = 0;
  private readonly entries = new Map<string, FailedFile>();
  private last: Promise<unknown> = Promise.resolve();

  constructor(
    private readonly fs: FileSystem,
    private readonly directory: string,
  ) {}

  get size(): number {
    return this.entries.size;
  }

  list(): FailedFile[] {
    return [...this.entries.values()];
  }

  /**
   * Reads the listing. The journal has the last word: a file is dropped when its batch is still live there (the
   * crash came before the batch was recorded as failed) or its entry is back in the queue.
   */
  async load(liveBatches: ReadonlySet<string>, requeued: ReadonlySet<string>, report: Report): Promise<void> {
    for (const name of await this.fs.list(this.directory)) {
      const path = join(this.directory, name);
      try {
        if (name.endsWith('.tmp')) await this.fs.unlink(path);
        const isDiscarded = name.endsWith(DISCARDED_SUFFIX);
        if (!name.endsWith(SUFFIX) && !isDiscarded) continue;
        const file = { ...(await this.readMeta(path)), ...(isDiscarded ? { isDiscarded } : {}) };
        if (liveBatches.has(file.batchId) || requeued.has(file.id)) await this.fs.unlink(path);
        else this.publish([file]);
      } catch (error) {
        report({ kind: 'problem', message: `Cannot read failed entry ${name}; it is left as it is`, error });
      }
    }
    await this.fs.syncDirectory(this.directory);
  }

  /**
   * Writes one entry of a batch, durably; a file of an earlier try is replaced. Damaged bytes are kept as they are.
   * It counts and is listed once the batch is durably over: `publish`.
   *
   * @param body undefined: only on disk
   */
  async keep(
    batch: Batch,
    index: number,
    body: Uint8Array | undefined,
    reason: string,
    failedAtMs: number,
  ): Promise<FailedFile> {
    const entry = batch.entries[index];
    const { signal, scope, receivedAtMs, retentionDays, items, reasons, bodyBytes: bytes } = entry;
    const file: FailedFile = {
      id: fileId(batch, index),
      batchId: batch.id,
      signal,
      scope,
      receivedAtMs,
      failedAtMs,
      items,
      reasons,
      bytes,
      reason: reason.slice(0, MAX_REASON_LENGTH),
      retentionDays,
    };
    await this.write(file, body ?? (await bodyOnDisk(entry)));
    return file;
  }

  publish(files: readonly FailedFile[]): void {
    for (const file of files) {
      this.entries.set(file.id, file);
      this.bytes += file.bytes;
    }
  }

  /** Deletes what `keep` wrote of a batch that is not failed after all; durable when it resolves. */
  async drop(batch: Batch): Promise<void> {
    for (const index of batch.entries.keys()) await removeIfThere(this.fs, this.pathOf(fileId(batch, index)));
    await this.fs.syncDirectory(this.directory);
  }

  /**
   * Gives entries back to the queue, one after the other; returns how many. One that is damaged stays.
   *
   * @param requeue makes the entry durable in the queue
   * @param release calls `remove` for it, then lets it be taken
   */
  retry(ids: readonly string[] | undefined, requeue: Requeue, release: () => Promise<void>): Promise<number> {
    return this.alone(async () => {
      let count = 0;
      for (const file of this.chosen(ids)) {
        if (file.isDiscarded) continue;
        const body = await this.readBody(file.id).catch(() => undefined);
        if (!body) continue;
        const { id, signal, scope, receivedAtMs, retentionDays, items, reasons } = file;
        const meta = { signal, scope, receivedAtMs, retentionDays, items, reasons, rejected: 0, note: '' };
        await requeue(id, { ...meta, addedAtMs: Date.now(), contentHash: '', failedId: id }, body);
        this.forget(id);
        count++;
        await release();
      }
      return count;
    });
  }

  /** Deletes the file of an entry; durable when it resolves. */
  async remove(id: string): Promise<void> {
    await removeIfThere(this.fs, this.pathOf(id));
    await this.fs.syncDirectory(this.directory);
  }

  /** Deletes entries for good; returns how many. With `record` that is durable before it is recorded, and the files go after it. */
  discard(ids: readonly string[], record?: (files: readonly FailedFile[]) => Promise<void>): Promise<number> {
    return this.alone(async () => {
      const files = this.chosen(ids);
      if (files.length > 0 && record) {
        for (const file of files) await this.markDiscarded(file);
        await this.fs.syncDirectory(this.directory);
        await record(files);
      }
      for (const { id } of files) {
        await this.remove(id);
        this.forget(id);
      }
      return files.length;
    });
  }

  private async markDiscarded(file: FailedFile): Promise<void> {
    if (file.isDiscarded) return;
    const path = this.pathOf(file.id);
    file.isDiscarded = true;
    try {
      await this.fs.rename(path, this.pathOf(file.id));
    } catch (error) {
      file.isDiscarded = false;
      throw error;
    }
  }

  private chosen(ids: readonly string[] | undefined): FailedFile[] {
    if (ids === undefined) return this.list();
    return [...new Set(ids)].map((id) => this.entries.get(id)).filter((file) => file !== undefined);
  }

  /** One change at a time: an entry must not be retried twice or deleted while it is retried. */
  private alone<T>(work: () => Promise<T>): Promise<T> {
    const result = this.last.then(work);
    this.last = result.catch(() => undefined);
    return result;
  }

  private async write(file: FailedFile, body: Uint8Array): Promise<void> {
    const json = Buffer.from(JSON.stringify(file));
    const length = Buffer.alloc(LENGTH_BYTES);
    length.writeUInt32LE(json.length);
    const payload = [length, json, body];
    const header = Buffer.alloc(HEADER_BYTES);
    writeHeader(header, 0, { marker: MARKER, type: FAILED_RECORD, id: 0, payload });
    await writeDurably(this.fs, this.pathOf(file.id), [header, ...payload]);
  }

  /** @throws PermanentError when the file is damaged */
  private async readBody(id: string): Promise<Uint8Array> {
    const bytes = await readWhole(this.fs, this.pathOf(id));
    const record = readRecord(bytes, 0, MARKER);
    if (!record) throw new PermanentError(`Failed entry ${id} is damaged`);
    return record.payload.subarray(LENGTH_BYTES + record.payload.readUInt32LE(0));
  }

  private forget(id: string): void {
    this.bytes -= this.entries.get(id)?.bytes ?? 0;
    this.entries.delete(id);
  }

  private async readMeta(path: string): Promise<FailedFile> {
    const file = await this.fs.open(path);
    try {
      const bytes = Buffer.alloc(META_READ_BYTES);
      const count = await readFully(file, bytes, 0);
      const start = HEADER_BYTES + LENGTH_BYTES;
      const end = start + bytes.readUInt32LE(HEADER_BYTES);
      if (end > count) throw new PermanentError(`${path} is too short`);
      return JSON.parse(bytes.toString('utf8', start, end)) as FailedFile;
    } finally {
      await file.close();
    }
  }

  private pathOf(id: string): string {
    const suffix = this.entries.get(id)?.isDiscarded ? DISCARDED_SUFFIX : SUFFIX;
    return join(this.directory, `${id}${suffix}`);
  }
}

async function bodyOnDisk(entry: StoredEntry): Promise<Uint8Array> {
  try {
    const payload = await readPayload(entry);
    return payload.subarray(payload.length - entry.bodyBytes);
  } catch (error) {
    if (error instanceof PermanentError) return salvageBody(entry);
    throw error;
  }
}

function fileId(batch: Batch, index: number): string {
  return `${batch.id}.${index}`;
}
