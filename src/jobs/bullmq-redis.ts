import { setTimeout as sleep } from 'node:timers/promises';
import { Redis as Client } from 'ioredis';

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
