import { type JournalRecord, readLength, readRecord } from './record.js';

export interface Stretch {
  offset: number;
  bytes: number;
}

export interface Scan {
  records: JournalRecord[];
  /** Places that are no whole record, between whole ones or at the end. */
  damaged: Stretch[];
  /** The end of the file that a write did not finish; nobody was told that it is durable. */
  torn: Stretch | undefined;
}

/**
 * Finds every whole record in a journal file. After a place that is none it goes on at the next marker that
 * starts a whole record, whatever the length field there said.
 *
 * An end is torn when it is a cut-off record or zeros; anything else there is called damaged, so that it is set
 * aside and not silently dropped: a power cut in the middle of a write can look like that, and so can bit rot.
 */
export function scanJournal(bytes: Buffer<ArrayBuffer>, marker: Uint8Array): Scan {
  const scan: Scan = { records: [], damaged: [], torn: undefined };
  let at = 0;
  while (at < bytes.length) {
    const record = readRecord(bytes, at, marker);
    if (record) {
      scan.records.push(record);
      at = record.payload.byteOffset - bytes.byteOffset + record.payload.length;
      continue;
    }
    const next = findRecord(bytes, at + 1, marker);
    const stretch = { offset: at, bytes: (next ?? bytes.length) - at };
    if (next === undefined && isTorn(bytes, at, marker)) scan.torn = stretch;
    else scan.damaged.push(stretch);
    at += stretch.bytes;
  }
  return scan;
}

function findRecord(bytes: Buffer<ArrayBuffer>, from: number, marker: Uint8Array): number | undefined {
  for (let at = bytes.indexOf(marker, from); at >= 0; at = bytes.indexOf(marker, at + 1)) {
    if (readRecord(bytes, at, marker)) return at;
  }
  return undefined;
}

function isTorn(bytes: Buffer<ArrayBuffer>, at: number, marker: Uint8Array): boolean {
  const end = bytes.subarray(at);
  if (end.every((byte) => byte === 0)) return true;
  const length = readLength(bytes, at, marker);
  // The header is right and the file ends before the payload does, or within the header.
  if (length !== undefined) return at + length > bytes.length - 32;
  const start = end.subarray(0, marker.length);
  return end.length < 32 && start.equals(marker.subarray(0, start.length));
}
