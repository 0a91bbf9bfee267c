import { AppError } from '../errors.js';
import { withinMs } from './access-version.js';

const MAX_PER_QUERY = 500;
/** Beyond it somebody is guessing, or PostgreSQL is away. */
const MAX_WAITING = 10_000;
const MAX_QUERY_MS = 2_000;

interface Waiting<Row> {
  resolve: (row: Row | undefined) => void;
  reject: (error: unknown) => void;
}

/**
 * Rows by id, as few queries as can be: who asks while one runs is answered by the next, all in one. So one id is asked
 * for once however many want it, and guesses take one connection and not the pool.
 */
export class Lookup<Row> {
  private waiting = new Map<string, Waiting<Row>[]>();
  private count = 0;
  private isRunning = false;

  /** @param query the rows there are, by id */
  constructor(private readonly query: (ids: string[]) => Promise<Map<string, Row>>) {}

  /**
   * The row with this id; undefined when there is none. As it is at some moment after the call.
   *
   * @throws AppError UNAVAILABLE when PostgreSQL is away, or too many ask at once
   */
  find(id: string): Promise<Row | undefined> {
    if (this.count >= MAX_WAITING) {
      return Promise.reject(
        new AppError('UNAVAILABLE', 'Too many credentials are being checked; try again.'),
      );
    }
    return new Promise((resolve, reject) => {
      this.count++;
      const waiting = this.waiting.get(id);
      if (waiting) waiting.push({ resolve, reject });
      else this.waiting.set(id, [{ resolve, reject }]);
      if (!this.isRunning) void this.run();
    });
  }

  private async run(): Promise<void> {
    this.isRunning = true;
    // What is asked in the same turn of the event loop goes together.
    await Promise.resolve();
    while (this.waiting.size > 0) await this.answer(this.take());
    this.isRunning = false;
  }

  private take(): Map<string, Waiting<Row>[]> {
    const batch = new Map([...this.waiting].slice(0, MAX_PER_QUERY));
    for (const [id, waiting] of batch) {
      this.waiting.delete(id);
      this.count -= waiting.length;
    }
    return batch;
  }

  private async answer(batch: Map<string, Waiting<Row>[]>): Promise<void> {
    try {
      const rows = await withinMs(this.query([...batch.keys()]), MAX_QUERY_MS);
      for (const [id, waiting] of batch) for (const { resolve } of waiting) resolve(rows.get(id));
    } catch (cause) {
      const error = new AppError('UNAVAILABLE', 'Credentials cannot be checked: PostgreSQL is away.', {
        cause,
      });
      for (const waiting of batch.values()) for (const { reject } of waiting) reject(error);
    }
  }
}
