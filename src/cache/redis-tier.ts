import { type Redis, runScript } from '../connections/redis.js';
import type { CacheKey } from './cache-key.js';
import { groupMeant, groupsOf, type Invalidation, redisPattern, writeInvalidation } from './invalidation.js';
import {
  DROP,
  GREET,
  LEASE,
  NAMES,
  PREFIXES,
  PUT,
  RELEASE,
  RENEW,
  STORE,
  UNLINK_PAGE,
} from './redis-scripts.js';
import type { Lease, Lookup, SharedTier, SharedTtl } from './shared-tier.js';

const SCAN_COUNT = 1_000;
/** How often Redis is asked for its time. */
const CLOCK_MS = 60_000;

const valueKey = (key: string) => PREFIXES.value + key;
const leaseKey = (key: string) => PREFIXES.lease + key;
const versionKey = (group: string) => PREFIXES.version + group;

/** A lease begins with the guard and the versions, a value with the versions. */
const withoutGuard = (began: string) => began.slice(began.indexOf(',') + 1);

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
    const wanted = [valueKey(key), NAMES.everything, ...groupsOf(key).map(versionKey)];
    const [raw, ...versions] = await this.redis.request((client) => client.mget(wanted));
    return { found: versions.includes(null) ? undefined : this.readValue(raw, versions.join(',')) };
  }

  async lease(key: CacheKey, token: string, leastFreshMs: number): Promise<Lookup> {
    if (this.greeted !== this.redis.connection) await this.greet();
    this.checkClock();
    const answer = await this.redis.evaluate(LEASE, [valueKey(key)], [token]);
    const [raw, began, given] = answer as [string | null, string, 0 | 1];
    const found = this.readValue(raw, withoutGuard(began));
    if (given === 0) return { found };
    if (!found || found.freshMs <= leastFreshMs) return { found, lease: { token, began } };
    // Nobody needs to wait for that: a lease that stays is over by itself, long before the value is.
    this.release(key, { token, began }).catch(() => undefined);
    return { found };
  }

  async store(key: CacheKey, text: string, ttl: SharedTtl, { token, began }: Lease): Promise<boolean> {
    const value = `${withoutGuard(began)}|${this.freshUntil(ttl)}|${text}`;
    const values = [token, began, ttl.freshMs + ttl.graceMs, value];
    return (await this.redis.evaluate(STORE, [valueKey(key)], values)) === 1;
  }

  async put(key: CacheKey, text: string, ttl: SharedTtl): Promise<void> {
    if (this.greeted !== this.redis.connection) await this.greet();
    const message = this.message({ kind: 'key', key });
    const value = `${this.freshUntil(ttl)}|${text}`;
    const values = [this.channel, message, ttl.freshMs + ttl.graceMs, value];
    await this.redis.evaluate(PUT, [valueKey(key)], values);
  }

  async renew(key: CacheKey, { token }: Lease): Promise<void> {
    await this.redis.evaluate(RENEW, [leaseKey(key)], [token]);
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
      await this.drop([NAMES.everything], message);
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
    await this.drop([NAMES.guard], message);
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
  private readValue(raw: string | null, versions: string): Lookup['found'] {
    if (!raw?.startsWith(versions) || raw[versions.length] !== '|') return undefined;
    const second = raw.indexOf('|', versions.length + 1);
    const freshUntilMs = Number(raw.slice(versions.length + 1, second));
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
    await this.redis.evaluate(GREET, [NAMES.run, NAMES.guard, NAMES.everything], [runId]);
    await this.readClock();
    this.greeted = connection;
  }
}
