import type { Logger } from 'pino';
import type { DataSource } from 'typeorm';

const WRITE_EVERY_MS = 30_000;
/** In one order, so that two processes never wait for each other; keys that are gone by now are left out. */
const WRITE = `INSERT INTO api_key_uses (api_key_id, last_used_at)
  SELECT u.id, u.at FROM unnest($1::uuid[], $2::timestamptz[]) AS u (id, at) JOIN api_keys k ON k.id = u.id ORDER BY u.id
  ON CONFLICT (api_key_id) DO UPDATE SET last_used_at = greatest(api_key_uses.last_used_at, excluded.last_used_at)`;

/** When each key was last used: noted in memory, written 30 s after the first use that is not written yet, all in one. */
export class KeyUses {
  private uses = new Map<string, number>();
  private timer: NodeJS.Timeout | undefined;

  constructor(
    private readonly source: DataSource,
    private readonly log: Logger,
  ) {}

  note(keyId: string, atMs: number): void {
    this.uses.set(keyId, atMs);
    this.timer ??= setTimeout(() => void this.write(), WRITE_EVERY_MS).unref();
  }

  /** Writes what is not written yet; what cannot be written is tried again with the next uses. Never throws. */
  async write(): Promise<void> {
    clearTimeout(this.timer);
    this.timer = undefined;
    if (this.uses.size === 0) return;
    const uses = this.uses;
    this.uses = new Map();
    try {
      await this.source.query(WRITE, [[...uses.keys()], [...uses.values()].map((ms) => new Date(ms))]);
    } catch (error) {
      this.log.warn({ err: error }, 'The last use of API keys could not be noted; it will be tried again');
      for (const [id, atMs] of uses) if (!this.uses.has(id)) this.note(id, atMs);
    }
  }
}
