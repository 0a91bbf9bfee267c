import type { Scope } from '../edge/scope.js';
import type { Signal } from '../signal.js';
import type { IngestEntry, Rejections } from './ingest-queue.js';

/**
 * What the ingestion queue writes into its journal. A record is never changed in meaning: a new meaning is a new
 * type or version, and a program that does not know one keeps the segment that holds it.
 */
export const RecordType = {
  /** An accepted request: prefix (`EntryMeta`) and body. */
  entry: 1,
  /** Batches with their exact entries (`PlanRecord`). The latest plan that names an entry counts. */
  plan: 2,
  /** Entries that are stored or in the failed set (`DoneRecord`). */
  done: 3,
  /** All entries of another segment that are still live (`LiveRecord`): its other entries are done. */
  live: 4,
  /** Entries that were refused although their bytes may be found (`VoidRecord`). */
  void: 5,
} as const;

export interface EntryMeta {
  signal: Signal;
  scope: Scope;
  receivedAtMs: number;
  retentionDays: number;
  items: number;
  rejected: number;
  note: string;
  /** Missing in records of before there was a ledger, and when nothing was refused. */
  reasons?: Rejections;
  /** When the queue took it: the ten minutes of duplicates count from here. */
  addedAtMs: number;
  /** Hex; '' for an entry that came back from the failed set. */
  contentHash: string;
  /** The file of the failed set this entry came from. */
  failedId?: string;
}

export interface PlannedBatch {
  id: string;
  entries: number[];
  attempt: number;
  interruptions: number;
  /** Given out when the record was written. */
  out: boolean;
  /** An insert of it may have begun; missing: not. */
  begun?: boolean;
}

export interface PlanRecord {
  batches: PlannedBatch[];
}

export interface DoneRecord {
  entries: number[];
}

export interface LiveRecord {
  segment: number;
  entries: number[];
}

export interface VoidRecord {
  segment: number;
  entries: number[];
}

const LENGTH_BYTES = 4;

export function metaOf(entry: IngestEntry, addedAtMs: number): EntryMeta {
  const { signal, scope, receivedAtMs, retentionDays, items, rejected, note, reasons, contentHash } = entry;
  return {
    signal,
    scope,
    receivedAtMs,
    retentionDays,
    items,
    rejected,
    note,
    reasons,
    addedAtMs,
    contentHash: Buffer.from(contentHash.buffer, contentHash.byteOffset, contentHash.length).toString('hex'),
  };
}

/** The part of an entry record before the body: length, then the meta as JSON. */
export function encodeEntryPrefix(meta: EntryMeta): Buffer {
  const { organizationId, workspaceId, tenantId } = meta.scope;
  const json = JSON.stringify({
    ...meta,
    scope: [organizationId, workspaceId, tenantId],
  });
  const bytes = Buffer.byteLength(json);
  const prefix = Buffer.allocUnsafe(LENGTH_BYTES + bytes);
  prefix.writeUInt32LE(bytes, 0);
  prefix.write(json, LENGTH_BYTES);
  return prefix;
}

export interface DecodedEntry {
  meta: EntryMeta;
  /** Where the body starts in the payload. */
  bodyOffset: number;
}

/** @throws when the payload is not an entry of this version */
export function decodeEntry(payload: Buffer): DecodedEntry {
  const bodyOffset = LENGTH_BYTES + payload.readUInt32LE(0);
  const raw = JSON.parse(payload.toString('utf8', LENGTH_BYTES, bodyOffset)) as Omit<EntryMeta, 'scope'> & {
    scope: [string, string, string];
  };
  const [organizationId, workspaceId, tenantId] = raw.scope;
  return { meta: { ...raw, scope: { organizationId, workspaceId, tenantId } }, bodyOffset };
}

export function encodeControl(record: PlanRecord | DoneRecord | LiveRecord | VoidRecord): Buffer {
  return Buffer.from(JSON.stringify(record));
}

/** @throws when the payload is not JSON */
export function decodeControl<T extends PlanRecord | DoneRecord | LiveRecord | VoidRecord>(
  payload: Buffer,
): T {
  return JSON.parse(payload.toString('utf8')) as T;
}
