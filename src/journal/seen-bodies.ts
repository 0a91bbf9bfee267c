import { createHash } from 'node:crypto';
import type { FileSystem } from './file-system.js';
import { SeenFiles } from './seen-files.js';
import { type SeenBody, SeenTable } from './seen-table.js';

/** A body that comes again within this time is a duplicate. */
export const SEEN_FOR_MS = 10 * 60_000;
const TABLE_MS = 60_000;
/** At most this many bodies are remembered, oldest forgotten first: about 170 MB of tables. */
const MAX_BODIES = 4_000_000;
const MAX_OWNERS_CACHED = 10_000;
/** Bodies in one file, so that writing one never holds the event loop. */
const BODIES_PER_FILE = 16_384;

/**
 * Which bodies were accepted in the last ten minutes, by owner and content: in memory, in tables of one
 * minute each. After a restart it is filled from the entries in the journal and from files: before a journal
 * segment is deleted, `persist` writes what no file has yet, synced.
 */
export class SeenBodies {
  /** Oldest first. */
  private tables: SeenTable[] = [];
  private readonly persisted = new WeakMap<SeenTable, number>();
  private readonly ownerDigests = new Map<string, Buffer>();
  private readonly files: SeenFiles;

  constructor(
    fs: FileSystem,
    directory: string,
    private readonly nowMs: () => number,
  ) {
    this.files = new SeenFiles(fs, directory);
  }

  /**
   * The key of a body: its hash, made different for every owner.
   *
   * @param owner whom it belongs to and as what; equal bodies of different owners are different bodies
   * @param contentHash 16 bytes
   */
  key(owner: string, contentHash: Uint8Array): Uint8Array {
    const digest = this.ownerDigest(owner);
    const key = new Uint8Array(16);
    for (let i = 0; i < key.length; i++) key[i] = contentHash[i] ^ digest[i];
    return key;
  }

  find(key: Uint8Array): SeenBody | undefined {
    const since = this.nowMs() - SEEN_FOR_MS;
    for (let i = this.tables.length - 1; i >= 0; i--) {
      const seen = this.tables[i].get(key);
      if (seen && seen.addedAtMs > since) return seen;
    }
    return undefined;
  }

  add(seen: SeenBody): void {
    if (seen.addedAtMs <= this.nowMs() - SEEN_FOR_MS) return;
    const table = this.tableFor(Math.floor(seen.addedAtMs / TABLE_MS) * TABLE_MS);
    if (table.get(seen.key) === undefined) table.add(seen);
  }

  /** Makes everything that would be needed after a restart durable outside the journal. */
  async persist(): Promise<void> {
    this.forgetOld();
    await this.files.removeBefore(this.nowMs() - SEEN_FOR_MS);
    for (const table of this.tables) {
      for (let from = this.persisted.get(table) ?? 0; from < table.count; ) {
        const to = Math.min(table.count, from + BODIES_PER_FILE);
        await this.files.write(table, from, to);
        this.persisted.set(table, to);
        from = to;
      }
    }
  }

  /** Reads what earlier processes persisted; `onDamage` gets the names of files that are not whole. */
  async load(onDamage: (name: string) => void): Promise<void> {
    const since = this.nowMs() - SEEN_FOR_MS;
    for await (const bodies of this.files.read(since, onDamage)) {
      for (const seen of bodies) this.add(seen);
    }
    for (const table of this.tables) this.persisted.set(table, table.count);
  }

  private tableFor(startMs: number): SeenTable {
    let at = this.tables.length;
    while (at > 0 && this.tables[at - 1].startMs > startMs) at--;
    if (at > 0 && this.tables[at - 1].startMs === startMs) return this.tables[at - 1];
    const table = new SeenTable(startMs);
    this.tables.splice(at, 0, table);
    this.forgetOld();
    return table;
  }

  private forgetOld(): void {
    const since = this.nowMs() - SEEN_FOR_MS - TABLE_MS;
    this.tables = this.tables.filter((table) => table.startMs > since);
    let total = 0;
    for (const table of this.tables) total += table.count;
    while (total > MAX_BODIES && this.tables.length > 1) total -= this.tables.shift()?.count ?? 0;
  }

  private ownerDigest(text: string): Buffer {
    let digest = this.ownerDigests.get(text);
    if (!digest) {
      if (this.ownerDigests.size >= MAX_OWNERS_CACHED) this.ownerDigests.clear();
      digest = createHash('sha256').update(text).digest().subarray(0, 16);
      this.ownerDigests.set(text, digest);
    }
    return digest;
  }
}
