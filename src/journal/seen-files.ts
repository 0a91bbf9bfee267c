import { randomBytes } from 'node:crypto';
import { join } from 'node:path';
import { readWhole, removeIfThere, writeDurably } from './durable-files.js';
import type { FileSystem } from './file-system.js';
import { HEADER_BYTES, MARKER_BYTES, RECORD_VERSION, writeHeader } from './record.js';
import { scanJournal } from './scan.js';
import type { SeenBody, SeenTable } from './seen-table.js';

/** `<time of the newest body>-<marker>.seen` */
const NAME = /^(\d+)-([0-9a-f]{16})\.seen$/;
const SEEN_RECORD = 1;
const KEY_BYTES = 16;
/** Key, time (f64), rejected (u32), length of the note (u32); then the note. */
const FIXED_BYTES = KEY_BYTES + 16;

/** Small files of seen bodies, each one journal record, written once and deleted when all in it is old. */
export class SeenFiles {
  private readonly newest = new Map<string, number>();

  constructor(
    private readonly fs: FileSystem,
    private readonly directory: string,
  ) {}

  /** Writes rows `from` to `to` (exclusive) of a table; durable when it resolves. */
  async write(table: SeenTable, from: number, to: number): Promise<void> {
    const marker = randomBytes(MARKER_BYTES);
    const parts: Buffer[] = [];
    let newestMs = 0;
    for (let n = from; n < to; n++) {
      const seen = table.at(n);
      newestMs = Math.max(newestMs, seen.addedAtMs);
      parts.push(encode(seen));
    }
    const payload = Buffer.concat(parts);
    const header = Buffer.alloc(HEADER_BYTES);
    writeHeader(header, 0, { marker, type: SEEN_RECORD, id: 0, payload: [payload] });
    const name = `${newestMs}-${marker.toString('hex')}.seen`;
    await writeDurably(this.fs, join(this.directory, name), [header, payload]);
    this.newest.set(name, newestMs);
  }

  async removeBefore(ms: number): Promise<void> {
    for (const [name, newestMs] of this.newest) {
      if (newestMs > ms) continue;
      await removeIfThere(this.fs, join(this.directory, name));
      this.newest.delete(name);
    }
  }

  /** Bodies of every file that has one younger than `sinceMs`; older files and unfinished ones are deleted. */
  async *read(sinceMs: number, onDamage: (name: string) => void): AsyncGenerator<SeenBody[]> {
    await this.fs.syncDirectory(this.directory);
    for (const name of await this.fs.list(this.directory)) {
      const path = join(this.directory, name);
      if (name.endsWith('.tmp')) await removeIfThere(this.fs, path);
      const match = NAME.exec(name);
      if (!match) continue;
      this.newest.set(name, Number(match[1]));
      if (Number(match[1]) <= sinceMs) continue;
      const { records } = scanJournal(await readWhole(this.fs, path), Buffer.from(match[2], 'hex'));
      const known = records.filter(({ type, version }) => type === SEEN_RECORD && version === RECORD_VERSION);
      if (known.length === 0) onDamage(name);
      for (const { payload } of known) yield decodeAll(payload);
    }
    await this.removeBefore(sinceMs);
  }
}

function encode({ key, addedAtMs, rejected, note }: SeenBody): Buffer {
  const noteBytes = Buffer.byteLength(note);
  const bytes = Buffer.allocUnsafe(FIXED_BYTES + noteBytes);
  bytes.set(key, 0);
  bytes.writeDoubleLE(addedAtMs, KEY_BYTES);
  bytes.writeUInt32LE(rejected, KEY_BYTES + 8);
  bytes.writeUInt32LE(noteBytes, KEY_BYTES + 12);
  bytes.write(note, FIXED_BYTES);
  return bytes;
}

function decodeAll(payload: Buffer): SeenBody[] {
  const bodies: SeenBody[] = [];
  for (let at = 0; at < payload.length; ) {
    const end = at + FIXED_BYTES + payload.readUInt32LE(at + KEY_BYTES + 12);
    bodies.push({
      key: payload.subarray(at, at + KEY_BYTES),
      addedAtMs: payload.readDoubleLE(at + KEY_BYTES),
      rejected: payload.readUInt32LE(at + KEY_BYTES + 8),
      note: payload.toString('utf8', at + FIXED_BYTES, end),
    });
    at = end;
  }
  return bodies;
}
