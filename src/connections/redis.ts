import { createHash } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { Redis as Client, ReplyError } from 'ioredis';
import type { Logger } from 'pino';
import { Deadlines } from '../deadlines.js';
import type { Health } from './clickhouse.js';

/** The longest that a request waits for Redis before it goes on without. */
const REQUEST_TIMEOUT_MS = 200;
/** For the handshake of a new connection, and for what no request waits for. */
const BACKGROUND_TIMEOUT_MS = 5_000;
/** Pauses before what no request waits for is tried again. */
const BACKGROUND_RETRIES_MS = [200, 500, 1_000];
const HEARTBEAT_MS = 1_000;
const SUBSCRIPTION_RETRY_MS = 200;
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

/** What a script is given; bytes go as they are. */
export type ScriptValue = string | number | Buffer;

/** Runs a script by its hash, and sends its text only where Redis does not know it. */
export function runScript(
  client: Client,
  script: RedisScript,
  keys: string[],
  values: ScriptValue[],
): Promise<unknown> {
  return client.evalsha(script.sha1, keys.length, ...keys, ...values).catch((error: Error) => {
    if (!error.message.startsWith('NOSCRIPT')) throw error;
    return client.eval(script.lua, keys.length, ...keys, ...values);
  });
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
  private connections = 0;
  /** The connection took too long, and is still being closed. */
  private isGivenUp = false;
  private readonly deadlines = new Deadlines();

  /** @param client lazily connecting, without offline queue, as `openRedis` makes it; what is sent by it belongs into `request` */
  constructor(
    readonly client: Client,
    private readonly log: Pick<Logger, 'warn' | 'info'>,
    private readonly timeoutMs: number,
  ) {
    client.on('ready', () => {
      this.isGivenUp = false;
      this.connections++;
      this.note(true);
      this.detail = 'the connection was closed';
    });
    client.on('error', (error: NodeJS.ErrnoException) => (this.detail = error.message || String(error.code)));
    client.on('close', () => this.note(false));
    client.connect().catch(() => undefined);
  }

  /** False while asking would be in vain. */
  get isUp(): boolean {
    return this.client.status === 'ready' && this.client.stream.writable && !this.isGivenUp;
  }

  /** Which connection it is since the start, from 1; after another the server may be another too. */
  get connection(): number {
    return this.connections;
  }

  /** Milliseconds until the next attempt to connect; grows from 50 ms to 2 s. */
  nextRetryMs(): number {
    return Math.min(MAX_RETRY_MS, MIN_RETRY_MS * 2 ** Math.min(this.failures++, 10));
  }

  /**
   * Runs commands that a request waits for, 200 ms at most. A connection that takes longer is given up and made anew, so
   * that the next requests don't wait for it too.
   *
   * @param timeoutMs more only for commands that carry so many bytes that these take their time
   * @throws RedisAway when it is not connected or does not answer in time; what Redis itself refuses is thrown as it is
   */
  async request<T>(use: (client: Client) => Promise<T>, timeoutMs = this.timeoutMs): Promise<T> {
    if (!this.isUp) throw new RedisAway(`Redis is away: ${this.detail}`);
    this.gatherWrites();
    try {
      const late = () => new RedisAway(`no answer within ${timeoutMs} ms`);
      const answer = await this.deadlines.within(this.withoutTimers(use), timeoutMs, late);
      this.failures = 0;
      return answer;
    } catch (error) {
      if (error instanceof RedisAway) this.giveUp(error.message);
      else if (!this.isUp) throw new RedisAway(`Redis is away: ${this.detail}`, { cause: error });
      throw error;
    }
  }

  /**
   * Runs a command that no request waits for: 5 s at most, and tried again after 200, 500 and 1000 ms where Redis was away. So it has
   * to be one that may be done twice.
   *
   * @throws RedisAway when it was away each time; what Redis itself refuses is thrown as it is
   */
  async background<T>(use: (client: Client) => Promise<T>): Promise<T> {
    for (const pauseMs of BACKGROUND_RETRIES_MS) {
      try {
        if (this.isUp) return await use(this.client);
      } catch (error) {
        if (error instanceof ReplyError) throw error;
      }
      await sleep(pauseMs, undefined, { ref: false });
    }
    if (!this.isUp) throw new RedisAway(`Redis is away: ${this.detail}`);
    return use(this.client);
  }

  /**
   * Runs a script that a request waits for.
   *
   * @throws RedisAway as `request` does
   */
  evaluate(script: RedisScript, keys: string[], values: ScriptValue[], timeoutMs?: number): Promise<unknown> {
    return this.request((client) => runScript(client, script, keys, values), timeoutMs);
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
    this.deadlines.close();
    this.client.removeAllListeners('close');
    this.client.disconnect();
  }

  /** What is sent in one turn of the event loop goes out in one write: writing is what many small commands cost most. */
  private gatherWrites(): void {
    const { stream } = this.client;
    if (stream.writableCorked > 0) return;
    stream.cork();
    process.nextTick(() => stream.uncork());
  }

  /** What has a deadline needs no timer of each command besides: to set and clear them is a tenth of what a small command costs here. */
  private withoutTimers<T>(use: (client: Client) => Promise<T>): Promise<T> {
    const { options } = this.client;
    options.commandTimeout = undefined;
    try {
      return use(this.client);
    } finally {
      options.commandTimeout = BACKGROUND_TIMEOUT_MS;
    }
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

/** What becomes of a subscription. */
export interface SubscriptionEvents {
  /** From now on nothing is missed. */
  onUp(): void;
  /** From now on, or since up to two seconds ago, messages may be missed. */
  onDown(): void;
  onMessage(message: string): void;
}

/** A connection that listens to one channel, and does so again by itself. It asks for a sign of life every second. */
export class RedisSubscription {
  private isListening = false;
  private readonly heartbeat: NodeJS.Timeout;

  constructor(
    private readonly client: Client,
    private readonly channel: string,
    private readonly events: SubscriptionEvents,
  ) {
    client.on('ready', () => this.listen());
    client.on('message', (_channel: string, message: string) => this.events.onMessage(message));
    client.on('error', () => undefined);
    client.on('close', () => this.lost());
    client.connect().catch(() => undefined);
    this.heartbeat = setInterval(() => this.check(), HEARTBEAT_MS).unref();
  }

  get isUp(): boolean {
    return this.isListening;
  }

  close(): void {
    clearInterval(this.heartbeat);
    this.client.removeAllListeners('close');
    this.client.disconnect();
  }

  private async listen(): Promise<void> {
    try {
      await this.client.subscribe(this.channel);
      this.isListening = true;
      this.events.onUp();
    } catch {
      this.client.disconnect(true);
    }
  }

  private lost(): void {
    if (!this.isListening) return;
    this.isListening = false;
    this.events.onDown();
  }

  private async check(): Promise<void> {
    if (!this.isListening) return;
    const late = sleep(HEARTBEAT_MS, 'late', { ref: false });
    const answer = await Promise.race([this.client.ping().catch(() => 'late'), late]);
    if (answer !== 'late' || !this.isListening) return;
    this.lost();
    this.client.disconnect(true);
  }
}

/** Where a connection goes, and how it is made: without a queue of commands for a connection to come. */
function newClient(url: string, database: number, nextRetryMs: () => number): Client {
  return new Client(url, {
    db: database,
    lazyConnect: true,
    enableOfflineQueue: false,
    autoResendUnfulfilledCommands: false,
    autoResubscribe: false,
    maxRetriesPerRequest: 0,
    connectTimeout: BACKGROUND_TIMEOUT_MS,
    commandTimeout: BACKGROUND_TIMEOUT_MS,
    disconnectTimeout: DISCONNECT_TIMEOUT_MS,
    connectionName: 'telemetryflow',
    disableClientInfo: true,
    retryStrategy: nextRetryMs,
  });
}

/**
 * A connection to Redis. Returns at once, connected or not: Redis is never the reason that a start fails.
 *
 * @param url `redis://` or `rediss://`; a database in it (`redis://host/5`) is used instead of `database`;
 *   `timeoutMs`: how long a request waits, 200 unless a test on a busy machine has time
 */
export function openRedis(
  url: string,
  options: { database: number; log: Pick<Logger, 'warn' | 'info'>; timeoutMs?: number },
): Redis {
  const client = newClient(url, options.database, () => redis.nextRetryMs());
  const redis = new Redis(client, options.log, options.timeoutMs ?? REQUEST_TIMEOUT_MS);
  return redis;
}

/** Listens to a channel, of all databases of a server. Returns at once, and tells when it hears. */
export function subscribeRedis(url: string, channel: string, events: SubscriptionEvents): RedisSubscription {
  const client = newClient(url, 0, () => SUBSCRIPTION_RETRY_MS);
  return new RedisSubscription(client, channel, events);
}
