import type { Redis } from '../connections/redis.js';
import { PermanentError } from '../errors.js';
import type { BodyPool } from '../memory/body-pool.js';
import type { EntryLine } from './lane.js';
import { PREFIX } from './script.js';

/** Bodies that are asked for together. */
const MAX_CHUNK_BYTES = 4 * 1024 * 1024;
const MAX_CHUNK_ENTRIES = 500;

/** The bodies of one batch, read from Redis many at a time. */
export class BatchBodies {
  private readonly chunks: readonly number[][];
  private readonly chunkOf: number[] = [];
  private readonly loading = new Map<number, Promise<void>>();
  private readonly loaded = new Map<number, Buffer | null>();

  constructor(
    private readonly redis: Redis,
    private readonly bodies: BodyPool,
    private readonly lines: readonly EntryLine[],
  ) {
    const chunks: number[][] = [];
    let bytes = Number.POSITIVE_INFINITY;
    for (const [index, line] of lines.entries()) {
      const last = chunks.at(-1);
      if (!last || bytes + line.bytes > MAX_CHUNK_BYTES || last.length >= MAX_CHUNK_ENTRIES) {
        chunks.push([index]);
        bytes = line.bytes;
      } else {
        last.push(index);
        bytes += line.bytes;
      }
      this.chunkOf.push(chunks.length - 1);
    }
    this.chunks = chunks;
  }

  /**
   * The body of an entry, in memory of the pool.
   *
   * @throws PermanentError when Redis does not have it any more, RedisAway
   */
  async read(index: number): Promise<Buffer> {
    if (!this.loaded.has(index)) await this.load(this.chunkOf[index]);
    const body = this.loaded.get(index);
    this.loaded.delete(index);
    if (body) return this.bodies.copyOf(body);
    throw new PermanentError(`Redis has no body of entry ${this.lines[index].id} any more`);
  }

  private load(chunk: number): Promise<void> {
    const running = this.loading.get(chunk);
    if (running) return running;
    const indexes = this.chunks[chunk];
    const keys = indexes.map((index) => `${PREFIX}body:${this.lines[index].id}`);
    const load = async () => {
      try {
        const values = await this.redis.background((client) => client.mgetBuffer(keys));
        for (const [at, index] of indexes.entries()) this.loaded.set(index, values[at]);
      } finally {
        this.loading.delete(chunk);
      }
    };
    const loading = load();
    this.loading.set(chunk, loading);
    return loading;
  }
}
