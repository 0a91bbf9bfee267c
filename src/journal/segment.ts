import { randomBytes } from 'node:crypto';
import { join } from 'node:path';
import { AppError } from '../errors.js';
import { readFully, removeIfThere } from './durable-files.js';
import type { FileSystem, OpenFile } from './file-system.js';
import { MARKER_BYTES } from './record.js';

const NAME = /^(\d{10})-([0-9a-f]{16})\.journal$/;

/** One file of the journal: `<sequence>-<marker>.journal`, appended to until it is sealed, deleted as a whole. */
export class Segment {
  /** End of the last durable record. */
  bytes = 0;
  sealed = false;
  removed = false;
  private file: OpenFile | undefined;
  private opening: Promise<OpenFile> | undefined;
  private users = 0;

  private constructor(
    private readonly fs: FileSystem,
    private readonly directory: string,
    readonly sequence: number,
    readonly marker: Buffer,
  ) {}

  get name(): string {
    return `${String(this.sequence).padStart(10, '0')}-${this.marker.toString('hex')}.journal`;
  }

  get path(): string {
    return join(this.directory, this.name);
  }

  /** A new, empty segment whose name is durable. */
  static async create(fs: FileSystem, directory: string, sequence: number): Promise<Segment> {
    const segment = new Segment(fs, directory, sequence, randomBytes(MARKER_BYTES));
    segment.file = await fs.create(segment.path);
    try {
      await fs.syncDirectory(directory);
    } catch (error) {
      await segment.remove().catch(() => undefined);
      throw error;
    }
    return segment;
  }

  /** The segment of a file name; undefined when it is not one. Sealed: a restart never appends to an old file. */
  static fromName(fs: FileSystem, directory: string, name: string): Segment | undefined {
    const match = NAME.exec(name);
    if (!match) return undefined;
    const segment = new Segment(fs, directory, Number(match[1]), Buffer.from(match[2], 'hex'));
    segment.sealed = true;
    return segment;
  }

  /** Runs with the open file, which is not closed under the caller's feet. */
  async use<T>(work: (file: OpenFile) => Promise<T>): Promise<T> {
    if (this.removed) throw new AppError('UNAVAILABLE', `Journal segment ${this.name} is closed`);
    this.users++;
    try {
      return await work(await this.opened());
    } finally {
      this.users--;
      if (this.removed && this.users === 0) await this.close();
    }
  }

  /** Fills `target`; throws when the file ends before. */
  async read(target: Uint8Array, offset: number): Promise<void> {
    const count = await this.use((file) => readFully(file, target, offset));
    if (count < target.length) throw new RangeError(`${this.name} ends at ${offset + count}`);
  }

  /** Deletes the file; durable when it resolves. Readers that began before may finish. */
  async remove(): Promise<void> {
    await removeIfThere(this.fs, this.path);
    await this.fs.syncDirectory(this.directory);
    await this.release();
  }

  /** Closes the file once nobody uses it. */
  async release(): Promise<void> {
    this.removed = true;
    if (this.users === 0) await this.close();
  }

  private async opened(): Promise<OpenFile> {
    if (this.file) return this.file;
    this.opening ??= this.fs.open(this.path).finally(() => {
      this.opening = undefined;
    });
    const file = await this.opening;
    this.file ??= file;
    return this.file;
  }

  private async close(): Promise<void> {
    const file = this.file;
    this.file = undefined;
    await file?.close();
  }
}
