import { AppError } from '../errors.js';
import { reach } from '../failpoints.js';
import { isNoSpace, writeFully } from './durable-files.js';
import type { FileSystem } from './file-system.js';
import { frameBytes, HEADER_BYTES, writeHeader } from './record.js';
import { Segment } from './segment.js';
import type { SpaceReserve } from './space-reserve.js';

/** Where a durable record lies. */
export interface Place {
  segment: Segment;
  /** Of the record's header. */
  offset: number;
  /** Header and payload. */
  bytes: number;
}

export interface Append {
  type: number;
  id: number;
  /** Written without being copied: not to be changed until one of the callbacks came. */
  payload: readonly Uint8Array[];
  /** Control records are tried until they are durable, with the reserve if need be; data is refused. */
  control: boolean;
  /** Called in the order of the records, before anything later is written. Must not throw. */
  onDurable(place: Place): void;
  onRefused?(error: unknown): void;
}

export interface JournalOptions {
  fs: FileSystem;
  directory: string;
  firstSequence: number;
  segmentBytes: number;
  /** Upper bound of one write, so that a burst does not wait behind tens of megabytes. */
  maxGroupBytes: number;
  /** How long an append that is not urgent may wait for company. */
  lazyMs: number;
  /** Pause after a failure before control records, and after a broken disk data, are tried again. */
  retryMs: number;
  reserve: SpaceReserve;
  /** Records that are not durable although their bytes may be found in `segment` after a crash. */
  onUncertain(records: readonly Append[], segment: Segment): void;
  onProblem(error: unknown): void;
}

/**
 * Append-only log in segments with group commit: while one write and fdatasync is in flight, appends gather; then
 * they go together. A record is durable exactly when `onDurable` is called.
 *
 * Failures: what was not synced is never acknowledged. No room: the file is cut back to its last durable record.
 * Any other failure, of fdatasync above all: the kernel may have dropped the dirty pages and say "ok" next time,
 * so the segment is sealed and the next group goes to a new one.
 */
export class Journal {
  active: Segment | undefined;
  appendedRecords = 0;
  appendedBytes = 0;
  syncs = 0;
  /** The last data that came was refused. */
  isRefusing = false;
  /** Bytes that are not durable yet. */
  pendingBytes = 0;
  private pending: Append[] = [];
  private urgent = false;
  private isStopped = false;
  private running: Promise<void> | undefined;
  private timer: NodeJS.Timeout | undefined;
  private nextSequence: number;
  private brokenUntilMs = Number.NEGATIVE_INFINITY;
  private onSegment: (segment: Segment) => void = () => undefined;

  constructor(private readonly options: JournalOptions) {
    this.nextSequence = options.firstSequence;
  }

  /** Tells of every new segment before anything is written to it. */
  set created(listener: (segment: Segment) => void) {
    this.onSegment = listener;
  }

  /** @param urgent false: may wait up to `lazyMs` for other records to share their sync */
  append(record: Append, urgent: boolean): void {
    if (this.isStopped) {
      record.onRefused?.(stopped());
      return;
    }
    this.pending.push(record);
    this.pendingBytes += sizeOf(record);
    if (urgent) this.wake();
    else this.wakeLater(this.options.lazyMs);
  }

  /** Before everything that waits: it is durable no later than the next record that is acknowledged. */
  appendFirst(record: Append): void {
    this.pending.unshift(record);
    this.pendingBytes += sizeOf(record);
    this.wakeLater(this.options.lazyMs);
  }

  /** Opens the first segment now, so that the first append need not. */
  async prepare(): Promise<void> {
    await this.writable();
  }

  /** Writes what is pending; returns whether everything became durable or was refused. */
  async flush(): Promise<boolean> {
    while (this.running) await this.running;
    if (this.pending.length > 0) {
      this.wake();
      await this.running;
    }
    return this.pending.length === 0;
  }

  /** For the end, after `flush`: what could not be written is refused. Files are released by their segments. */
  stop(): void {
    this.isStopped = true;
    clearTimeout(this.timer);
    if (this.active) this.active.sealed = true;
    for (const record of this.pending.splice(0)) record.onRefused?.(stopped());
  }

  private wake(): void {
    this.urgent = true;
    this.running ??= this.run();
  }

  private wakeLater(delayMs: number): void {
    this.timer ??= setTimeout(() => {
      this.timer = undefined;
      if (this.pending.length > 0) this.wake();
    }, delayMs);
  }

  private async run(): Promise<void> {
    // What is appended in the same turn of the event loop shares the first group.
    await undefined;
    while (this.urgent && this.pending.length > 0) {
      const group = this.nextGroup();
      this.urgent = this.pending.length > 0;
      await this.commit(group);
    }
    this.running = undefined;
    if (this.pending.length > 0) this.wakeLater(this.options.lazyMs);
  }

  private nextGroup(): Append[] {
    let count = 0;
    let bytes = 0;
    while (count < this.pending.length && (count === 0 || bytes < this.options.maxGroupBytes)) {
      bytes += sizeOf(this.pending[count++]);
    }
    return this.pending.splice(0, count);
  }

  private async commit(group: Append[]): Promise<void> {
    let left = group;
    if (group.some((record) => !record.control)) {
      const refusal = await this.refusal();
      if (refusal) left = this.refuseData(group, refusal);
    }
    let failure = await this.write(left);
    if (failure === undefined) return;
    left = this.refuseData(left, failure);
    failure = await this.write(left);
    if (isNoSpace(failure) && (await this.options.reserve.release())) failure = await this.write(left);
    if (failure === undefined) return;
    this.pending.unshift(...left);
    for (const record of left) this.pendingBytes += sizeOf(record);
    this.wakeLater(this.options.retryMs);
  }

  /** Why data is refused without trying to write it. */
  private async refusal(): Promise<Error | undefined> {
    const { reserve } = this.options;
    if (performance.now() < this.brokenUntilMs) return new Error('The disk has just failed');
    if (reserve.held || (await reserve.restore())) return undefined;
    return Object.assign(new Error('The disk is full'), { code: 'ENOSPC' });
  }

  private refuseData(group: Append[], error: unknown): Append[] {
    const control: Append[] = [];
    for (const record of group) {
      if (record.control) {
        control.push(record);
      } else {
        this.isRefusing = true;
        this.pendingBytes -= sizeOf(record);
        record.onRefused?.(error);
      }
    }
    return control;
  }

  /** Writes and syncs a group; returns the error if it is not durable as a whole. */
  private async write(group: Append[]): Promise<unknown> {
    if (group.length === 0) return undefined;
    let segment: Segment;
    try {
      segment = await this.writable();
    } catch (error) {
      this.noteFailure(error);
      return error;
    }
    const offset = segment.bytes;
    let isWritten = false;
    try {
      await segment.use(async (file) => {
        const count = await writeFully(file, frame(group, segment), offset);
        isWritten = true;
        reach('journal-written');
        await file.sync();
        segment.bytes = offset + count;
      });
    } catch (error) {
      if (isWritten || !isNoSpace(error) || !(await this.cutBack(segment))) segment.sealed = true;
      this.noteFailure(error);
      this.options.onUncertain(group, segment);
      return error;
    }
    this.settle(group, segment, offset);
    return undefined;
  }

  private settle(group: Append[], segment: Segment, start: number): void {
    this.syncs++;
    this.appendedRecords += group.length;
    this.appendedBytes += segment.bytes - start;
    let offset = start;
    for (const record of group) {
      const bytes = sizeOf(record);
      this.pendingBytes -= bytes;
      if (!record.control) this.isRefusing = false;
      record.onDurable({ segment, offset, bytes });
      offset += bytes;
    }
  }

  /** A write that found no room did not break the file: what it left is cut off. */
  private async cutBack(segment: Segment): Promise<boolean> {
    try {
      await segment.use((file) => file.truncate(segment.bytes));
      return true;
    } catch {
      return false;
    }
  }

  private noteFailure(error: unknown): void {
    if (!isNoSpace(error)) this.brokenUntilMs = performance.now() + this.options.retryMs;
    this.options.onProblem(error);
  }

  private async writable(): Promise<Segment> {
    if (this.active && !this.active.sealed && this.active.bytes < this.options.segmentBytes)
      return this.active;
    if (this.active) this.active.sealed = true;
    const { fs, directory } = this.options;
    const segment = await Segment.create(fs, directory, this.nextSequence++);
    this.active = segment;
    this.onSegment(segment);
    return segment;
  }
}

function stopped(): AppError {
  return new AppError('SHUTTING_DOWN', 'The queue is closed');
}

function sizeOf(record: Append): number {
  return frameBytes(record.payload);
}

/** Headers in one slab, payloads as they are. */
function frame(group: Append[], segment: Segment): Uint8Array[] {
  const headers = Buffer.allocUnsafe(group.length * HEADER_BYTES);
  const buffers: Uint8Array[] = [];
  group.forEach(({ type, id, payload }, index) => {
    const at = index * HEADER_BYTES;
    writeHeader(headers, at, { marker: segment.marker, type, id, payload });
    buffers.push(headers.subarray(at, at + HEADER_BYTES), ...payload);
  });
  return buffers;
}
