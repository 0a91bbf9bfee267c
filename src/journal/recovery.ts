import { join } from 'node:path';
import { errorCode, writeDurably } from './durable-files.js';
import type { FileSystem, OpenFile } from './file-system.js';
import type { JournalRecord } from './record.js';
import type { Report } from './report.js';
import { type Stretch, scanJournal } from './scan.js';
import { Segment } from './segment.js';

const CHUNK_BYTES = 8 * 1024 * 1024;
const PAGE_BYTES = 4096;

export interface Recovered {
  segments: Segment[];
  /** Segments that hold something this program must not delete. */
  pinned: Set<Segment>;
  damaged: number;
  unknown: number;
}

/** @returns false for a record that the program does not understand */
export type Consume = (segment: Segment, record: JournalRecord) => boolean;

/**
 * Gives every whole record to `consume`, in order; its payload is valid only during the call. Nothing found there
 * stops the start: damaged places are copied to `corruptDirectory` and reported, a torn end is cut off, segments
 * that cannot be read or understood are kept.
 */
export async function recoverJournal(
  fs: FileSystem,
  directory: string,
  corruptDirectory: string,
  consume: Consume,
  report: Report,
): Promise<Recovered> {
  const recovered: Recovered = {
    segments: [],
    pinned: new Set(),
    damaged: 0,
    unknown: 0,
  };
  const context = { fs, corruptDirectory, consume, report, recovered, reader: new Reader() };
  await fs.syncDirectory(directory);
  for (const name of (await fs.list(directory)).sort()) {
    const segment = Segment.fromName(fs, directory, name);
    if (!segment) continue;
    recovered.segments.push(segment);
    try {
      await recoverSegment(context, segment);
    } catch (error) {
      recovered.pinned.add(segment);
      report({ kind: 'problem', message: `Cannot read journal segment ${name}; it is kept as it is`, error });
    }
  }
  return recovered;
}

interface Context {
  fs: FileSystem;
  corruptDirectory: string;
  consume: Consume;
  report: Report;
  recovered: Recovered;
  reader: Reader;
}

async function recoverSegment(
  { fs, corruptDirectory, consume, report, recovered, reader }: Context,
  segment: Segment,
) {
  // The process before may have died between its write and its sync: what is read here must not vanish later.
  const bytes = await segment.use(async (file) => {
    await file.sync();
    return reader.read(file);
  });
  segment.bytes = bytes.length;
  const scan = scanJournal(bytes, segment.marker);
  for (const record of scan.records) {
    const { offset, type, version } = record;
    if (consume(segment, record)) continue;
    recovered.unknown++;
    recovered.pinned.add(segment);
    report({ kind: 'unknown', file: segment.name, offset, type, version });
  }
  for (const stretch of scan.damaged) {
    recovered.damaged++;
    if (!(await setAside(fs, corruptDirectory, segment, bytes, stretch, report)))
      recovered.pinned.add(segment);
  }
  if (scan.torn) await cutOff(segment, scan.torn, report);
}

/** Copies a damaged place to a file of its own, once; false when that failed. */
async function setAside(
  fs: FileSystem,
  directory: string,
  segment: Segment,
  bytes: Buffer,
  stretch: Stretch,
  report: Report,
): Promise<boolean> {
  const name = `${segment.name.replace('.journal', '')}-${stretch.offset}.bin`;
  const place = {
    kind: 'damaged',
    file: segment.name,
    offset: stretch.offset,
    bytes: stretch.bytes,
  } as const;
  try {
    if ((await fs.list(directory)).includes(name)) return true;
    const path = join(directory, name);
    await writeDurably(fs, path, [bytes.subarray(stretch.offset, stretch.offset + stretch.bytes)]);
    report({ ...place, savedAs: path });
    return true;
  } catch {
    report({ ...place, savedAs: undefined });
    return false;
  }
}

async function cutOff(segment: Segment, torn: Stretch, report: Report): Promise<void> {
  segment.bytes = torn.offset;
  await segment.use(async (file) => {
    await file.truncate(torn.offset);
    await file.sync();
  });
  report({ kind: 'torn', file: segment.name, offset: torn.offset, bytes: torn.bytes });
}

/** Reads one file after the other into the same memory: a backlog is as large as the disk allows. */
class Reader {
  private memory = Buffer.allocUnsafeSlow(0);

  /** The whole file, valid until the next call; pages that the disk cannot read are zeros, damaged for the scan. */
  async read(file: OpenFile): Promise<Buffer<ArrayBuffer>> {
    const size = await file.size();
    if (size > this.memory.length) this.memory = Buffer.allocUnsafeSlow(size);
    const bytes = this.memory.subarray(0, size);
    return bytes.subarray(0, await readTolerantly(file, bytes, 0, CHUNK_BYTES));
  }
}

/** Returns where it ended: at the end of `bytes`, or of the file if that is shorter. */
async function readTolerantly(
  file: OpenFile,
  bytes: Buffer,
  start: number,
  stepBytes: number,
): Promise<number> {
  let at = start;
  while (at < bytes.length) {
    const end = Math.min(at + stepBytes, bytes.length);
    try {
      const count = await file.read(bytes.subarray(at, end), at);
      if (count === 0) break;
      at += count;
    } catch (error) {
      if (errorCode(error) !== 'EIO') throw error;
      if (stepBytes > PAGE_BYTES) await readTolerantly(file, bytes.subarray(0, end), at, PAGE_BYTES);
      else bytes.fill(0, at, end);
      at = end;
    }
  }
  return at;
}
