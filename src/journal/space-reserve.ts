import { randomFillSync } from 'node:crypto';
import { join } from 'node:path';
import { removeIfThere, writeDurably } from './durable-files.js';
import type { FileSystem, OpenFile } from './file-system.js';

const FILE = 'reserve';
const CHUNK_BYTES = 1024 * 1024;

/**
 * Space kept back in a file of real blocks. A full disk must not keep the queue from recording what is done, or
 * the backlog could never drain: the reserve is given up for such records, and new entries are refused until it
 * could be made again.
 */
export class SpaceReserve {
  private isHeld = false;
  private triedAtMs = Number.NEGATIVE_INFINITY;
  private readonly path: string;

  constructor(
    private readonly fs: FileSystem,
    directory: string,
    private readonly bytes: number,
    private readonly retryMs: number,
  ) {
    this.path = join(directory, FILE);
  }

  get held(): boolean {
    return this.isHeld;
  }

  /** Gives the space up; false when it was given up before. */
  async release(): Promise<boolean> {
    if (!this.isHeld) return false;
    this.isHeld = false;
    // Not in the same breath: what was just freed is not to be taken again at once.
    this.triedAtMs = performance.now();
    await removeIfThere(this.fs, this.path).catch(() => undefined);
    return true;
  }

  /** Makes the reserve if it is missing and enough time has passed since the last try; true when it is there. */
  async restore(): Promise<boolean> {
    if (this.isHeld || this.bytes === 0) return true;
    const now = performance.now();
    if (now - this.triedAtMs < this.retryMs) return false;
    this.triedAtMs = now;
    try {
      if ((await this.existingBytes()) < this.bytes) await writeDurably(this.fs, this.path, this.chunks());
      this.isHeld = true;
    } catch {
      // Still no room: the caller refuses entries, the next try comes later.
    }
    return this.isHeld;
  }

  private async existingBytes(): Promise<number> {
    let file: OpenFile;
    try {
      file = await this.fs.open(this.path);
    } catch {
      return 0;
    }
    try {
      return await file.size();
    } finally {
      await file.close();
    }
  }

  /** Random bytes, so that a file system that compresses or skips zeros gives real blocks too. */
  private chunks(): Buffer[] {
    const chunk = randomFillSync(Buffer.allocUnsafe(Math.min(CHUNK_BYTES, this.bytes)));
    const chunks: Buffer[] = [];
    for (let left = this.bytes; left > 0; left -= chunk.length) chunks.push(chunk.subarray(0, left));
    return chunks;
  }
}
