import { randomBytes } from 'node:crypto';
import type { Redis as Client } from 'ioredis';
import type { Logger } from 'pino';
import { type Redis, runScript } from '../connections/redis.js';
import { AppError } from '../errors.js';
import { WATCH } from './look-scripts.js';
import { PREFIX } from './script.js';

const LOOK_MS = 500;
/** Then the connection is given up, for all who wait on it. */
const TIMEOUT_MS = 1000;
/** Of `maxmemory`; the rest is for what other processes add before this one looks again, and for what isn't ours. */
const MAX_MEMORY_SHARE = 0.8;

/** Looks after Redis twice a second: how much memory is left, and whether it still has what it had. */
export class RedisWatch {
  private born = '';
  private entries = 0;
  private items = 0;
  private usedBytes = 0;
  private maxBytes = 0;
  /** Since it looked last. */
  private addedBytes = 0;
  private isLooking = false;
  private readonly timer: NodeJS.Timeout;

  constructor(
    private readonly redis: Redis,
    private readonly channel: string,
    private readonly log: Pick<Logger, 'error' | 'warn'>,
  ) {
    this.timer = setInterval(() => void this.look(), LOOK_MS).unref();
    void this.look();
  }

  /** Bytes that Redis uses and may use, as it said last; 0: no limit. */
  get memory(): { usedBytes: number; maxBytes: number } {
    return { usedBytes: this.usedBytes + this.addedBytes, maxBytes: this.maxBytes };
  }

  /** What waited when it looked last. */
  get seen(): { entries: number; items: number } {
    return { entries: this.entries, items: this.items };
  }

  /** @throws AppError BACKLOG_FULL when the bytes would bring Redis close to its `maxmemory` */
  assertRoom(bytes: number): void {
    const { usedBytes, maxBytes } = this.memory;
    if (maxBytes === 0 || usedBytes + bytes <= maxBytes * MAX_MEMORY_SHARE) return;
    throw new AppError('BACKLOG_FULL', `Redis uses ${usedBytes} of its ${maxBytes} bytes of memory`, {
      retryAfterSeconds: 2,
    });
  }

  added(bytes: number): void {
    this.addedBytes += bytes;
  }

  close(): void {
    clearInterval(this.timer);
  }

  private async look(): Promise<void> {
    if (!this.redis.isUp || this.isLooking) return;
    this.isLooking = true;
    try {
      const before = this.addedBytes;
      const values = [this.channel, randomBytes(8).toString('hex'), this.entries, this.items];
      const ask = (client: Client) =>
        Promise.all([client.info('memory'), runScript(client, WATCH, [PREFIX], values)]);
      const [memory, seen] = await this.redis.request(ask, TIMEOUT_MS);
      const numberOf = (name: string) => Number(new RegExp(`^${name}:(\\d+)`, 'm').exec(memory)?.[1] ?? 0);
      this.usedBytes = numberOf('used_memory');
      this.maxBytes = numberOf('maxmemory');
      this.addedBytes -= before;
      this.compare(seen as [string, number, number, number]);
    } catch {
      // It is away, and whoever wants something of it is told so.
    } finally {
      this.isLooking = false;
    }
  }

  private compare([born, entries, items, isNoted]: [string, number, number, number]): void {
    if (this.born !== '' && born !== this.born) {
      const about = { entries: this.entries, items: this.items, counted: isNoted === 1 };
      this.log.error(about, 'Redis was emptied: requests that were acknowledged and waited in it are lost');
    }
    this.born = born;
    this.entries = entries;
    this.items = items;
  }
}
