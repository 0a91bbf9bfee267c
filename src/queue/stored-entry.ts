import type { Scope } from '../edge/scope.js';
import { AppError, PermanentError } from '../errors.js';
import { errorCode } from '../journal/durable-files.js';
import type { Place } from '../journal/journal.js';
import { readRecord } from '../journal/record.js';
import type { BodyPool } from '../memory/body-pool.js';
import type { Signal } from '../signal.js';
import { type IngestBatch, type Rejections, reasonsOf } from './ingest-queue.js';
import type { EntryMeta } from './queue-records.js';

/** An acknowledged entry: where its record lies, and its body while memory allows. */
export interface StoredEntry {
  readonly id: number;
  readonly signal: Signal;
  readonly scope: Scope;
  readonly receivedAtMs: number;
  /** Wall clock. */
  readonly addedAtMs: number;
  /** Monotonic clock, so that a batch is not late when the wall clock is set back; left by an earlier process: -Infinity. */
  readonly queuedAtMs: number;
  readonly retentionDays: number;
  readonly items: number;
  readonly reasons: Rejections | undefined;
  readonly bodyBytes: number;
  place: Place;
  body: Uint8Array | undefined;
}

/** Entries planned to be inserted as one block. */
export interface Batch {
  readonly id: string;
  readonly signal: Signal;
  readonly scope: Scope;
  readonly entries: readonly StoredEntry[];
  attempt: number;
  interruptions: number;
  /** Who it is given out to: the very object `take` returned; undefined while it waits. */
  holder: IngestBatch | undefined;
  /** When it may be given out (again), monotonic clock. */
  dueAtMs: number;
  /** When it was given out last, monotonic. */
  givenAtMs: number;
  /** The sequence of the segment with its latest plan record; 0: there is none yet. */
  planSegment: number;
  /** The latest plan record says what is known now; false: write one before it is given out. */
  isRecorded: boolean;
  /** An insert of it may have begun, now or in an earlier process. */
  hasBegun: boolean;
  /** A record that replaces it is on its way: no later plan record may name it. */
  isSplitting: boolean;
  /** A try to fail it may have left files in the failed set, which must be gone before it ends in another way. */
  hasLeftovers: boolean;
}

/** @param queuedAtMs monotonic clock */
export function storedEntry(
  source: { id: number; meta: EntryMeta; bodyBytes: number; place: Place },
  queuedAtMs: number,
  body?: Uint8Array,
): StoredEntry {
  const { id, meta, bodyBytes, place } = source;
  const { signal, scope, receivedAtMs, addedAtMs, retentionDays, items } = meta;
  const reasons = reasonsOf(meta);
  return {
    id,
    signal,
    scope,
    receivedAtMs,
    addedAtMs,
    queuedAtMs,
    retentionDays,
    items,
    reasons,
    bodyBytes,
    place,
    body,
  };
}

/** Small entries cost memory too: each counts at least this much against the backlog limit. */
const MIN_COST_BYTES = 4096;
/** Room for header and meta of an entry record. */
const RECORD_OVERHEAD_BYTES = 512;
const READ_TRIES = 3;

/** What an entry counts against the backlog limit, bytes. */
export function costOf(bodyBytes: number): number {
  return Math.max(MIN_COST_BYTES, bodyBytes + RECORD_OVERHEAD_BYTES);
}

/** Payload of an entry's record, read from its segment. @throws PermanentError when the bytes are damaged */
export function readPayload(entry: StoredEntry): Promise<Buffer> {
  return readInto(Buffer.allocUnsafeSlow(entry.place.bytes), entry);
}

async function readInto(record: Buffer, entry: StoredEntry): Promise<Buffer> {
  const { segment, offset, bytes } = entry.place;
  await readPatiently(() => segment.read(record, offset), segment.name, offset);
  const decoded = readRecord(record, 0, segment.marker);
  if (decoded && decoded.id === entry.id) return decoded.payload;
  throw new PermanentError(`Damaged bytes in ${segment.name} at ${offset}, ${bytes} bytes`);
}

/** The body, in memory of the pool. @throws PermanentError when the bytes are damaged */
export async function readBody(entry: StoredEntry, bodies: BodyPool): Promise<Buffer> {
  const record = bodies.take(entry.place.bytes);
  try {
    await readInto(record, entry);
    return bodies.slice(record, record.length - entry.bodyBytes, record.length);
  } catch (error) {
    bodies.give(record);
    throw error;
  }
}

/** What is left of a damaged body, as far as the disk gives it. */
export async function salvageBody(entry: StoredEntry): Promise<Uint8Array> {
  const { segment, offset, bytes } = entry.place;
  const body = new Uint8Array(entry.bodyBytes);
  await segment.read(body, offset + bytes - entry.bodyBytes).catch(() => undefined);
  return body;
}

async function readPatiently(read: () => Promise<void>, name: string, offset: number): Promise<void> {
  for (let tries = 1; ; tries++) {
    try {
      await read();
      return;
    } catch (error) {
      if (error instanceof AppError) throw error;
      const message = `Cannot read ${name} at ${offset}: ${(error as Error).message}`;
      const isDamage = error instanceof RangeError || errorCode(error) === 'EIO';
      if (!isDamage) throw new AppError('UNAVAILABLE', message, { cause: error });
      if (tries >= READ_TRIES) throw new PermanentError(message, { cause: error });
    }
  }
}
