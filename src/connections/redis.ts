import { createHash } from 'node:crypto';
import { Redis as Client } from 'ioredis';
import type { Logger } from 'pino';
import type { Health } from './clickhouse.js';

/** The longest that a request waits for Redis before it goes on without. */
const REQUEST_TIMEOUT_MS = 200;
/** For what nobody waits for: the handshake of a new connection. */
const BACKGROUND_TIMEOUT_MS = 2_000;
/** For an orderly goodbye to a server that may not be listening. */
const DISCONNECT_TIMEOUT_MS = 100;
const MIN_RETRY_MS = 50;
const MAX_RETRY_MS = 2_000;

/** A Lua script, which Redis runs as one step. */
export interface RedisScript {
  readonly lua: string;
  /** What Redis knows it by once it has seen it. */
  readonly sha1: string;
}

export function redisScript(lua: string): RedisScript {
  return { lua, sha1: createHash('sha1').update(lua).digest('hex') };
}

/** Redis did not answer; whether it did what was asked is not known. */
export class RedisAway extends Error {
  override readonly name = 'RedisAway';
}

/**
 * One connection to Redis, for things that can go on without it. It connects by itself in the background, also again, and
 * nothing is queued for a later connection: whoever asks while it is away is told so at once.
 */
export class Redis {
  /** Since Redis last answered in time: a server that accepts connections and is too slow must be left alone for longer too. */
  private failures = 0;
  private detail = 'not connected yet';
  private wasUp: boolean | undefined;
  /** The connection took too long, and is still being closed. */
  private isGivenUp = false;

  /** @param client lazily connecting, without offline queue; as `openRedis` makes it */
  constructor(
    private readonly client: Client,
    private readonly log: Pick<Logger, 'warn' | 'info'>,
  ) {
    client.on('ready', () => {
      this.isGivenUp = false;
      this.note(true);
      this.detail = 'the connection was closed';
    });
    client.on('error', (error: NodeJS.ErrnoException) => (this.detail = error.message || String(error.code)));
    client.on('close', () => this.note(false));
    client.connect().catch(() => undefined);
  }

  /** False while asking would be in vain. */
  get isUp(): boolean {
    return this.client.status === 'ready' && !this.isGivenUp;
  }

  /** Milliseconds until the next attempt to connect; grows from 50 ms to 2 s. */
  nextRetryMs(): number {
    return Math.min(MAX_RETRY_MS, MIN_RETRY_MS * 2 ** Math.min(this.failures++, 10));
  }

  /**
   * Runs commands that a request waits for, 200 ms at most. A connection that takes longer is given up and made anew, so
   * that the next requests don't wait for it too.
   *
   * @throws RedisAway when it is not connected or does not answer in time; what Redis itself refuses is thrown as it is
   */
  async request<T>(use: (client: Client) => Promise<T>): Promise<T> {
    if (!this.isUp) throw new RedisAway(`Redis is away: ${this.detail}`);
    let timer: NodeJS.Timeout | undefined;
    const timeout = new Promise<never>((_, reject) => {
      timer = setTimeout(() => {
        // After a long step of this process the answer may be there and only not read yet: that is not Redis' fault.
        timer = undefined;
        setImmediate(() => reject(new RedisAway(`no answer within ${REQUEST_TIMEOUT_MS} ms`)));
      }, REQUEST_TIMEOUT_MS);
    });
    try {
      const answer = await Promise.race([use(this.client), timeout]);
      this.failures = 0;
      return answer;
    } catch (error) {
      if (error instanceof RedisAway) this.giveUp(error.message);
      else if (!this.isUp) throw new RedisAway(`Redis is away: ${this.detail}`, { cause: error });
      throw error;
    } finally {
      clearTimeout(timer);
    }
  }

  /**
   * Runs a script by its hash, and sends its text only where Redis does not know it.
   *
   * @throws RedisAway as `request` does
   */
  evaluate(script: RedisScript, keys: string[], values: (string | number)[]): Promise<unknown> {
    return this.request(async (client) => {
      try {
        return await client.evalsha(script.sha1, keys.length, ...keys, ...values);
      } catch (error) {
        if (!(error as Error).message.startsWith('NOSCRIPT')) throw error;
        return client.eval(script.lua, keys.length, ...keys, ...values);
      }
    });
  }

  /** Whether it answers within 200 ms. */
  async health(): Promise<Health> {
    try {
      await this.request((client) => client.ping());
      return { status: 'up' };
    } catch (error) {
      return { status: 'down', detail: (error as Error).message };
    }
  }

  close(): void {
    this.client.removeAllListeners('close');
    this.client.disconnect();
  }

  private giveUp(detail: string): void {
    if (!this.isUp) return;
    this.isGivenUp = true;
    this.detail = detail;
    this.client.disconnect(true);
    this.note(false);
  }

  private note(isUp: boolean): void {
    if (isUp === this.wasUp) return;
    this.wasUp = isUp;
    if (isUp) this.log.info('Redis is there');
    else this.log.warn(`Redis is away: ${this.detail}`);
  }
}

/**
 * A connection to Redis. Returns at once, connected or not: Redis is never the reason that a start fails.
 *
 * @param url `redis://` or `rediss://`; a database in it (`redis://host/5`) is used instead of `database`
 */
export function openRedis(
  url: string,
  { database, log }: { database: number; log: Pick<Logger, 'warn' | 'info'> },
): Redis {
  const client = new Client(url, {
    db: database,
    lazyConnect: true,
    enableOfflineQueue: false,
    autoResendUnfulfilledCommands: false,
    maxRetriesPerRequest: 0,
    connectTimeout: BACKGROUND_TIMEOUT_MS,
    commandTimeout: BACKGROUND_TIMEOUT_MS,
    disconnectTimeout: DISCONNECT_TIMEOUT_MS,
    connectionName: 'telemetryflow',
    disableClientInfo: true,
    retryStrategy: () => redis.nextRetryMs(),
  });
  const redis: Redis = new Redis(client, log);
  return redis;
}
