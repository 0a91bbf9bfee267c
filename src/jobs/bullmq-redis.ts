import { setTimeout as sleep } from 'node:timers/promises';
import { Redis as Client, ReplyError } from 'ioredis';
import type { Logger } from 'pino';
import type { Health } from '../connections/clickhouse.js';
import type { Redis } from '../connections/redis.js';
import { StartupError } from '../errors.js';

const MIN_RETRY_MS = 50;
const MAX_RETRY_MS = 2_000;
const CONNECT_TIMEOUT_MS = 5_000;
const HEARTBEAT_MS = 5_000;
/** A server that says nothing for so long is left. */
const SILENCE_MS = 20_000;

/**
 * A connection for workers, which have nothing to do without Redis and so wait for it: commands are kept until it is there, and a
 * connection on which no answer comes for 20 s is made anew.
 *
 * @param url `redis://` or `rediss://`; a database in it (`redis://host/5`) is used instead of `database`
 */
export function openWorkerClient(url: string, database: number): Client {
  const client = new Client(url, {
    db: database,
    maxRetriesPerRequest: null,
    connectTimeout: CONNECT_TIMEOUT_MS,
    connectionName: 'telemetryflow',
    disableClientInfo: true,
    retryStrategy: (times) => Math.min(MAX_RETRY_MS, MIN_RETRY_MS * 2 ** Math.min(times, 10)),
  });
  client.on('error', () => undefined);
  // ioredis has a setting for this, whose timer outlives the connection: it holds up the end of the process and closes the next one.
  let isAsked = false;
  const heartbeat = setInterval(async () => {
    if (isAsked || client.status !== 'ready') return;
    isAsked = true;
    const late = sleep(SILENCE_MS, 'late', { ref: false });
    const answer = await Promise.race([client.ping().catch(() => 'gone'), late]);
    isAsked = false;
    if (answer === 'late' && client.status === 'ready') client.disconnect(true);
  }, HEARTBEAT_MS).unref();
  client.once('end', () => clearInterval(heartbeat));
  return client;
}

/** Lets so much through at once that all of it is answered in time. When Redis hangs, what was let through fails, and so the rest soon does. */
export class Turns {
  private onTheWay = 0;
  private readonly waiting: { size: number; go: () => void }[] = [];

  constructor(private readonly max: number) {}

  async take<T>(size: number, use: () => Promise<T>): Promise<T> {
    if (this.waiting.length > 0 || !this.fits(size))
      await new Promise<void>((resolve) => this.waiting.push({ size, go: resolve }));
    else this.onTheWay += size;
    try {
      return await use();
    } finally {
      this.onTheWay -= size;
      while (this.waiting.length > 0 && this.fits(this.waiting[0].size)) {
        const next = this.waiting.shift()!;
        this.onTheWay += next.size;
        next.go();
      }
    }
  }

  private fits(size: number): boolean {
    return this.onTheWay === 0 || this.onTheWay + size <= this.max;
  }
}

/**
 * What would lose jobs, in the words of Redis' own settings; empty when it is as durable as it can be. Where CONFIG is forbidden, as with many
 * providers, INFO tells the same.
 *
 * @throws Error when Redis does not answer, or tells neither
 */
export async function volatileSettings(client: Client): Promise<string[]> {
  const { policy, isAppending } = await readSettings(client);
  const problems: string[] = [];
  if (policy !== 'noeviction')
    problems.push(`maxmemory-policy is ${policy}: it may evict jobs; expected noeviction`);
  if (!isAppending)
    problems.push(
      'appendonly is off: what was added since the last snapshot is lost when it ends; expected yes',
    );
  return problems;
}

async function readSettings(client: Client): Promise<{ policy: string | undefined; isAppending: boolean }> {
  try {
    const [, policy] = (await client.config('GET', 'maxmemory-policy')) as string[];
    const [, appendonly] = (await client.config('GET', 'appendonly')) as string[];
    if (policy !== undefined && appendonly !== undefined)
      return { policy, isAppending: appendonly === 'yes' };
  } catch (error) {
    if (!(error instanceof ReplyError)) throw error;
  }
  const [memory, persistence] = [await client.info('memory'), await client.info('persistence')];
  const read = (text: string, name: string) => new RegExp(`^${name}:(.*?)\\r?$`, 'm').exec(text)?.[1];
  return { policy: read(memory, 'maxmemory_policy'), isAppending: read(persistence, 'aof_enabled') === '1' };
}

/** Looks at each new connection whether Redis keeps what it is given: after a failover it may be another server. */
export class RedisDurability {
  /** Why jobs may be lost; empty when they are safe, or nothing is known yet. */
  problems: string[] = [];

  /** @param isAllowed REDIS_ALLOW_VOLATILE: it is said, and nothing is refused */
  constructor(
    private readonly redis: Redis,
    private readonly isAllowed: boolean,
    private readonly log: Pick<Logger, 'warn' | 'error'>,
  ) {
    redis.client.on('ready', () => void this.look());
  }

  async look(): Promise<void> {
    try {
      this.problems = await this.redis.background(volatileSettings);
    } catch (error) {
      if (!(error instanceof ReplyError)) return;
      this.problems = [`its settings cannot be read: ${(error as Error).message}`];
    }
    if (this.problems.length === 0) return;
    if (this.isAllowed) this.log.warn(this.sentence);
    else this.log.error(this.sentence);
  }

  /** @throws StartupError */
  check(): void {
    if (this.problems.length > 0 && !this.isAllowed) throw new StartupError(this.sentence);
  }

  health(): Health {
    if (this.problems.length > 0 && !this.isAllowed) return { status: 'down', detail: this.sentence };
    return { status: 'up' };
  }

  private get sentence(): string {
    return `REDIS_URL: jobs may be lost in this Redis: ${this.problems.join('; ')}. REDIS_ALLOW_VOLATILE=1 accepts that`;
  }
}
