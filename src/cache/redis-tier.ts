import { type Redis, runScript } from '../connections/redis.js';
import type { CacheKey } from './cache-key.js';
import { groupMeant, groupsOf, type Invalidation, redisPattern, writeInvalidation } from './invalidation.js';
import { DROP, GREET, LEASE, PUT, RELEASE, RENEW, STORE, UNLINK_PAGE } from './redis-scripts.js';
import type { Lease, Lookup, SharedTier, SharedTtl } from './shared-tier.js';

/** In front of every key, so that the cache can be told from whatever else is in the database. */
const PREFIX = 'tf:cache:';
const COUNT = `${PREFIX}count`;
const RUN = `${PREFIX}run`;
const GUARD = `${PREFIX}guard`;
const EVERYTHING = `${PREFIX}all`;
/** How long after its holder has died a key can be computed by another. */
export const LEASE_MS = 5_000;
const SCAN_COUNT = 1_000;
/** How often Redis is asked for its time. */
const CLOCK_MS = 60_000;

const valueKey = (key: string) => `${PREFIX}v:${key}`;
const leaseKey = (key: string) => `${PREFIX}l:${key}`;
const versionKey = (group: string) => `${PREFIX}g:${group}`;
/** Of everything, and of the groups. */
const versionKeys = (key: string) => [EVERYTHING, ...groupsOf(key).map(versionKey)];

/** The second tier in Redis. Never more than 200 ms for an answer, apart from patterns, which nobody should wait for. */
export class RedisTier implements SharedTier {
  /** The connection whose server is known. */
  private greeted = 0;
  private greeting: Promise<void> | undefined;
  /** Redis' clock, less that of this process. */
  private aheadMs = 0;
  private clockReadAtMs = Number.NEGATIVE_INFINITY;

  /**
   * @param channel where invalidations are told: `<sender> <line of writeInvalidation>`
   * @param sender of the messages, without spaces
   */
  constructor(
    private readonly redis: Redis,
    private readonly channel: string,
    private readonly sender: string,
  ) {}

  get isUp(): boolean {
    return this.redis.isUp;
  }

  async lookUp(key: CacheKey): Promise<Lookup> {
    if (this.greeted !== this.redis.connection) await this.greet();
    this.checkClock();
    const wanted = [valueKey(key), ...versionKeys(key)];
    const [raw, ...versions] = await this.redis.request((client) => client.mget(wanted));
    return { found: this.readValue(raw, versions) };
  }

  async lease(key: CacheKey, token: string, leastFreshMs: number): Promise<Lookup> {
    if (this.greeted !== this.redis.connection) await this.greet();
    this.checkClock();
    const names = [COUNT, leaseKey(key), valueKey(key), GUARD, ...versionKeys(key)];
    const answer = (await this.redis.evaluate(LEASE, names, [token, LEASE_MS])) as (string | number | null)[];
    const isGiven = answer.pop() === 1;
    const [raw, ...began] = answer as [string | null, ...string[]];
    const found = this.readValue(raw, began.slice(1));
    if (!isGiven) return { found };
    if (!found || found.freshMs <= leastFreshMs) return { found, lease: { token, began } };
    // Nobody needs to wait for that: a lease that stays is over by itself, long before the value is.
    this.release(key, { token, began }).catch(() => undefined);
    return { found };
  }

  async store(key: CacheKey, text: string, ttl: SharedTtl, { token, began }: Lease): Promise<boolean> {
    const names = [valueKey(key), leaseKey(key), GUARD, ...versionKeys(key)];
    const value = `${began.slice(1).join(',')}|${this.freshUntil(ttl)}|${text}`;
    const values = [ttl.freshMs + ttl.graceMs, value, token, ...began];
    return (await this.redis.evaluate(STORE, names, values)) === 1;
  }

  async put(key: CacheKey, text: string, ttl: SharedTtl): Promise<void> {
    if (this.greeted !== this.redis.connection) await this.greet();
    const names = [COUNT, leaseKey(key), valueKey(key), ...versionKeys(key)];
    const message = this.message({ kind: 'key', key });
    const value = `${this.freshUntil(ttl)}|${text}`;
    await this.redis.evaluate(PUT, names, [this.channel, message, ttl.freshMs + ttl.graceMs, value]);
  }

  async renew(key: CacheKey, { token }: Lease): Promise<void> {
    await this.redis.evaluate(RENEW, [leaseKey(key)], [token, LEASE_MS]);
  }

  async release(key: CacheKey, { token }: Lease): Promise<void> {
    await this.redis.evaluate(RELEASE, [leaseKey(key)], [token]);
  }

  async invalidate(invalidation: Invalidation): Promise<void> {
    const message = this.message(invalidation);
    if (invalidation.kind === 'key') {
      const { key } = invalidation;
      return this.drop([valueKey(key), leaseKey(key)], message);
    }
    if (invalidation.kind === 'all') {
      await this.drop([EVERYTHING], message);
      return this.unlink('*');
    }
    const { pattern } = invalidation;
    const group = groupMeant(pattern);
    if (group !== undefined) {
      const whole = group.slice(0, -1);
      return this.drop([versionKey(group), valueKey(whole), leaseKey(whole)], message);
    }
    // What is being computed now is not stored. What is there is found by SCAN, and can be read into memory until then:
    // the message comes after it, and also before it, as most is gone from memory by the first.
    await this.drop([GUARD], message);
    await this.unlink(redisPattern(pattern));
    await this.redis.background((client) => client.publish(this.channel, message));
  }

  private async drop(what: string[], message: string): Promise<void> {
    await this.redis.evaluate(DROP, what, [this.channel, message]);
  }

  /** Never KEYS, which stops Redis for all; and never FLUSHDB, as the database may be somebody else's too. */
  private async unlink(pattern: string): Promise<void> {
    let cursor = '0';
    do {
      const page = [cursor, valueKey(pattern), SCAN_COUNT];
      cursor = String(await this.redis.background((client) => runScript(client, UNLINK_PAGE, [], page)));
    } while (cursor !== '0');
  }

  private message(invalidation: Invalidation): string {
    return `${this.sender} ${writeInvalidation(invalidation)}`;
  }

  /** The value, if it was stored under these versions: `<versions>|<Unix ms>|<JSON>`. */
  private readValue(raw: string | null, versions: (string | null)[]): Lookup['found'] {
    if (raw === null || versions.includes(null)) return undefined;
    const head = versions.join(',');
    if (!raw.startsWith(head) || raw[head.length] !== '|') return undefined;
    const second = raw.indexOf('|', head.length + 1);
    const freshUntilMs = Number(raw.slice(head.length + 1, second));
    return { text: raw.slice(second + 1), freshMs: freshUntilMs - performance.now() - this.aheadMs };
  }

  private freshUntil({ freshMs }: SharedTtl): number {
    return Math.round(performance.now() + this.aheadMs + freshMs);
  }

  /** Clocks drift, and are set. */
  private checkClock(): void {
    if (performance.now() - this.clockReadAtMs > CLOCK_MS) this.readClock().catch(() => undefined);
  }

  private async readClock(): Promise<void> {
    this.clockReadAtMs = performance.now();
    const [seconds, micros] = await this.redis.request((client) => client.time());
    this.aheadMs = Number(seconds) * 1000 + Number(micros) / 1000 - performance.now();
  }

  private greet(): Promise<void> {
    this.greeting ??= this.compareRuns().finally(() => (this.greeting = undefined));
    return this.greeting;
  }

  private async compareRuns(): Promise<void> {
    const { connection } = this.redis;
    const info = await this.redis.request((client) => client.info('server'));
    const runId = /^run_id:(\w+)/m.exec(info)?.[1] ?? 'unknown';
    await this.redis.evaluate(GREET, [RUN, GUARD, EVERYTHING], [runId]);
    await this.readClock();
    this.greeted = connection;
  }
}
