import { join } from 'node:path';
import { crc32 } from 'node:zlib';
import { errorCode, readWhole, removeIfThere, writeDurably, writeFully } from '../journal/durable-files.js';
import type { FileSystem, OpenFile } from '../journal/file-system.js';

const FILE = 'running';
const MARK = 0x52465431;
const SLOT_BYTES = 16;
/** Of the first file; it grows with the workers. */
const FIRST_SLOTS = 64;
const UNMARK_MS = 20;

/** What a process left behind: who it was, and which jobs it was running. */
export interface LeftRunning {
  epoch: number;
  numbers: number[];
}

/**
 * Which jobs run right now, in a file of 16 bytes each: job number, CRC32 of it and the epoch, zero. A job's slot is
 * written before its handler is called and never synced: the page cache outlives the process, and a job whose process
 * died is what it is for. After a power cut it may say anything old or nothing, and a power cut is no job's fault.
 */
export class RunningTable {
  private slots = Buffer.alloc(FIRST_SLOTS * SLOT_BYTES);
  private used = 0;
  private readonly free: number[] = [];
  private dirtyFrom = Number.POSITIVE_INFINITY;
  private dirtyTo = 0;
  private last: Promise<void> = Promise.resolve();
  private next: Promise<void> | undefined;
  private timer: NodeJS.Timeout | undefined;
  private isClosed = false;

  private constructor(
    private readonly file: OpenFile,
    private readonly epoch: number,
    private readonly onProblem: (error: unknown) => void,
  ) {}

  /** What the process before left; undefined when there is no table that can be read. */
  static async left(fs: FileSystem, directory: string): Promise<LeftRunning | undefined> {
    let bytes: Buffer;
    try {
      bytes = await readWhole(fs, join(directory, FILE));
    } catch (error) {
      if (errorCode(error) === 'ENOENT') return undefined;
      throw error;
    }
    if (bytes.length < SLOT_BYTES || bytes.readUInt32LE(12) !== MARK) return undefined;
    const epoch = bytes.readUIntLE(0, 6);
    if (bytes.readUInt32LE(8) !== sumOf(epoch, 0)) return undefined;
    const numbers: number[] = [];
    for (let at = SLOT_BYTES; at + SLOT_BYTES <= bytes.length; at += SLOT_BYTES) {
      const number = bytes.readUIntLE(at, 6);
      if (number > 0 && bytes.readUInt32LE(at + 8) === sumOf(number, epoch)) numbers.push(number);
    }
    return { epoch, numbers };
  }

  /** A new, empty table in the place of the old one. @param epoch a number no process before had */
  static async begin(
    fs: FileSystem,
    directory: string,
    epoch: number,
    onProblem: (error: unknown) => void,
  ): Promise<RunningTable> {
    const path = join(directory, FILE);
    const header = Buffer.alloc(SLOT_BYTES);
    header.writeUIntLE(epoch, 0, 6);
    header.writeUInt32LE(sumOf(epoch, 0), 8);
    header.writeUInt32LE(MARK, 12);
    await writeDurably(fs, path, [header, Buffer.alloc(FIRST_SLOTS * SLOT_BYTES)]);
    return new RunningTable(await fs.open(path), epoch, onProblem);
  }

  /** Takes a slot for the job. The handler may be called after `written`. */
  mark(number: number): number {
    const slot = this.free.pop() ?? this.used++;
    if ((slot + 1) * SLOT_BYTES > this.slots.length)
      this.slots = Buffer.concat([this.slots, Buffer.alloc(this.slots.length)]);
    this.set(slot, number);
    return slot;
  }

  /** The job does not run any more; said with the next write, and soon. */
  unmark(slot: number): void {
    this.set(slot, 0);
    this.free.push(slot);
    if (this.isClosed) return;
    this.timer ??= setTimeout(() => {
      this.timer = undefined;
      void this.written();
    }, UNMARK_MS);
  }

  /** Resolves when every change until now is written. A disk that fails is reported and holds no job up. */
  written(): Promise<void> {
    // One write at a time; what changes meanwhile goes together in the next one, and so do the jobs that begin together.
    this.next ??= this.last.then(turnEnded).then(() => {
      this.next = undefined;
      this.last = this.write();
      return this.last;
    });
    return this.next;
  }

  /** For an orderly end: nothing was running. */
  async close(fs: FileSystem, directory: string): Promise<void> {
    this.isClosed = true;
    clearTimeout(this.timer);
    await this.last;
    await this.next;
    await this.file.close();
    await removeIfThere(fs, join(directory, FILE)).catch(this.onProblem);
  }

  private set(slot: number, number: number): void {
    const at = slot * SLOT_BYTES;
    this.slots.writeUIntLE(number, at, 6);
    this.slots.writeUInt32LE(number === 0 ? 0 : sumOf(number, this.epoch), at + 8);
    this.dirtyFrom = Math.min(this.dirtyFrom, at);
    this.dirtyTo = Math.max(this.dirtyTo, at + SLOT_BYTES);
  }

  private async write(): Promise<void> {
    const from = this.dirtyFrom;
    if (from >= this.dirtyTo || this.isClosed) return;
    // A copy: the slots change while the disk is at work.
    const bytes = Buffer.from(this.slots.subarray(from, this.dirtyTo));
    this.dirtyFrom = Number.POSITIVE_INFINITY;
    this.dirtyTo = 0;
    await writeFully(this.file, [bytes], SLOT_BYTES + from).catch(this.onProblem);
  }
}

function sumOf(number: number, epoch: number): number {
  const bytes = Buffer.alloc(12);
  bytes.writeUIntLE(number, 0, 6);
  bytes.writeUIntLE(epoch, 6, 6);
  return crc32(bytes);
}

/** Resolves after everything that is under way now, promises included. */
function turnEnded(): Promise<void> {
  return new Promise((resolve) => process.nextTick(resolve));
}
