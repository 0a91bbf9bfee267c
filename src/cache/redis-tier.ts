import { type Redis, runScript } from '../connections/redis.js';
import type { CacheKey } from './cache-key.js';
import { groupMeant, groupsOf, type Invalidation, redisPattern, writeInvalidation } from './invalidation.js';
import {
  DROP_GROUP,
  DROP_KEY,
  GREET,
  LOOK_UP,
  PUT,
  RELEASE,
  RENEW,
  STORE,
  UNLINK_PAGE,
} from './redis-scripts.js';
import type { Lease, Lookup, SharedTier, SharedTtl } from './shared-tier.js';

/** In front of every key, so that the cache can be told from whatever else is in the database. */
const PREFIX = 'tf:cache:';
const VERSIONS = `${PREFIX}versions`;
/** How long after its holder has died a key can be computed by another. */
export const LEASE_MS = 5_000;
/** 10 MB of Redis' memory. */
const MAX_VERSIONS = 100_000;
const SCAN_COUNT = 1_000;

const valueKey = (key: string) => `${PREFIX}v:${key}`;
const leaseKey = (key: string) => `${PREFIX}l:${key}`;
const threeKeys = (key: string) => [VERSIONS, valueKey(key), leaseKey(key)];

function threeGroups(key: string): [string, string, string] {
  const [one = '', two = '', three = ''] = groupsOf(key);
  return [one, two, three];
}

/** `<versions>|<grace in ms>|<JSON>` */
function readValue(raw: string, leftMs: number): Lookup['found'] {
  const first = raw.indexOf('|');
  const second = raw.indexOf('|', first + 1);
  return { text: raw.slice(second + 1), freshMs: leftMs - Number(raw.slice(first + 1, second)) };
}

/** The second tier in Redis. Never more than 200 ms for an answer, apart from patterns, which nobody should wait for. */
export class RedisTier implements SharedTier {
  /** The connection whose server is known. */
  private greeted = 0;
  private greeting: Promise<void> | undefined;

  /**
   * @param channel where invalidations are told: `<sender> <line of writeInvalidation>`
   * @param sender of the messages, without spaces
   */
  constructor(
    private readonly redis: Redis,
    private readonly channel: string,
    private readonly sender: string,
    private readonly maxVersions = MAX_VERSIONS,
  ) {}

  get isUp(): boolean {
    return this.redis.isUp;
  }

  async lookUp(key: CacheKey, token: string | undefined): Promise<Lookup> {
    if (this.greeted !== this.redis.connection) await this.greet();
    const values = [...threeGroups(key), token ?? '', LEASE_MS];
    const [raw, leftMs, began] = (await this.redis.evaluate(LOOK_UP, threeKeys(key), values)) as [
      string | null,
      number,
      string,
    ];
    return {
      found: raw === null ? undefined : readValue(raw, leftMs),
      lease: token !== undefined && began !== '' ? { token, began } : undefined,
    };
  }

  async store(key: CacheKey, text: string, { freshMs, graceMs }: SharedTtl, lease: Lease): Promise<boolean> {
    const values = [...threeGroups(key), lease.token, lease.began, graceMs, freshMs + graceMs, text];
    return (await this.redis.evaluate(STORE, threeKeys(key), values)) === 1;
  }

  async put(key: CacheKey, text: string, { freshMs, graceMs }: SharedTtl): Promise<void> {
    if (this.greeted !== this.redis.connection) await this.greet();
    const message = this.message({ kind: 'key', key });
    const values = [...threeGroups(key), this.channel, message, graceMs, freshMs + graceMs, text];
    await this.redis.evaluate(PUT, threeKeys(key), values);
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
      await this.redis.evaluate(DROP_KEY, [valueKey(key), leaseKey(key)], [this.channel, message]);
      return;
    }
    const group = invalidation.kind === 'all' ? 'all' : groupMeant(invalidation.pattern);
    if (group !== undefined) await this.giveVersion(group, message);
    if (invalidation.kind === 'all') await this.unlink('*');
    if (group !== undefined || invalidation.kind !== 'pattern') return;
    // What is being computed now is not stored. What is there is found by SCAN, and can be read into memory until then:
    // the message comes after it, and also before it, as most is gone from memory by the first.
    await this.giveVersion('guard', message);
    await this.unlink(redisPattern(invalidation.pattern));
    await this.redis.background((client) => client.publish(this.channel, message));
  }

  private async giveVersion(field: string, message: string): Promise<void> {
    await this.redis.evaluate(DROP_GROUP, [VERSIONS], [this.channel, message, field, this.maxVersions]);
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

  private greet(): Promise<void> {
    this.greeting ??= this.compareRuns().finally(() => (this.greeting = undefined));
    return this.greeting;
  }

  private async compareRuns(): Promise<void> {
    const { connection } = this.redis;
    const info = await this.redis.request((client) => client.info('server'));
    const runId = /^run_id:(\w+)/m.exec(info)?.[1] ?? 'unknown';
    await this.redis.evaluate(GREET, [VERSIONS], [runId]);
    this.greeted = connection;
  }
}
