import { crc32 } from 'node:zlib';

/**
 * One record of the journal:
 *
 *     0  marker   8 bytes, random per file and part of the file's name
 *     8  length   u32, bytes of payload
 *    12  type     u8
 *    13  version  u8, of type and payload; this frame itself never changes
 *    14  zero     u16
 *    16  id       u64
 *    24  crc32    u32, of the payload
 *    28  crc32    u32, of bytes 0 to 27
 *    32  payload
 *
 * All numbers little-endian. The header has its own sum, so a wrong length is known before it is believed. The
 * marker is random because payloads come from outside: a body that contains a whole journal record must not be
 * taken for one when a damaged place is skipped.
 */
export const HEADER_BYTES = 32;
export const MARKER_BYTES = 8;
/** Version of the payloads this program writes and understands. */
export const RECORD_VERSION = 1;

export interface JournalRecord {
  type: number;
  version: number;
  id: number;
  /** Of the header, in the file. */
  offset: number;
  payload: Buffer;
}

export function frameBytes(payload: readonly Uint8Array[]): number {
  let bytes = HEADER_BYTES;
  for (const part of payload) bytes += part.length;
  return bytes;
}

/** Writes the header for a payload into `target` at `at`; the payload itself is not touched or copied. */
export function writeHeader(
  target: Buffer,
  at: number,
  record: { marker: Uint8Array; type: number; id: number; payload: readonly Uint8Array[]; version?: number },
): void {
  let bytes = 0;
  let sum = 0;
  for (const part of record.payload) {
    bytes += part.length;
    sum = crc32(part, sum);
  }
  target.set(record.marker, at);
  target.writeUInt32LE(bytes, at + 8);
  target[at + 12] = record.type;
  target[at + 13] = record.version ?? RECORD_VERSION;
  target.writeUInt16LE(0, at + 14);
  target.writeUInt32LE(record.id % 2 ** 32, at + 16);
  target.writeUInt32LE(Math.floor(record.id / 2 ** 32), at + 20);
  target.writeUInt32LE(sum, at + 24);
  target.writeUInt32LE(crc32(target.subarray(at, at + 28)), at + 28);
}

/** The record whose header starts at `at`; undefined unless both sums are right. */
export function readRecord(bytes: Buffer, at: number, marker: Uint8Array): JournalRecord | undefined {
  const length = readLength(bytes, at, marker);
  if (length === undefined || at + HEADER_BYTES + length > bytes.length) return undefined;
  const payload = bytes.subarray(at + HEADER_BYTES, at + HEADER_BYTES + length);
  if (crc32(payload) !== bytes.readUInt32LE(at + 24)) return undefined;
  return {
    type: bytes[at + 12],
    version: bytes[at + 13],
    id: bytes.readUInt32LE(at + 16) + bytes.readUInt32LE(at + 20) * 2 ** 32,
    offset: at,
    payload,
  };
}

/** Payload length from a header whose marker and sum are right; undefined otherwise. */
export function readLength(bytes: Buffer, at: number, marker: Uint8Array): number | undefined {
  if (at + HEADER_BYTES > bytes.length) return undefined;
  if (bytes.compare(marker, 0, MARKER_BYTES, at, at + MARKER_BYTES) !== 0) return undefined;
  if (crc32(bytes.subarray(at, at + 28)) !== bytes.readUInt32LE(at + 28)) return undefined;
  return bytes.readUInt32LE(at + 8);
}
