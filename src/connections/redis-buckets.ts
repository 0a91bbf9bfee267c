import type { Limit } from '../edge/principal.js';
import { outcome, type SharedBucketStore, type Taken, TOKEN_TOLERANCE } from '../edge/token-bucket.js';
import { type Redis, redisScript } from './redis.js';

/** In front of every key, so that buckets can be told from the cache and queues in the same database. */
const PREFIX = 'tf:bucket:';

/**
 * `takeTokens` of token-bucket.ts on the server's clock, which all instances share; the same suite holds both to the same
 * promises. A bucket is `<tokens> <Unix ms>` and gone when it is full. Returns whether it was allowed and the bucket, with all digits.
 */
const TAKE = redisScript(`
local limit, ttl, cost = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local time = redis.call('TIME')
local now = time[1] * 1000 + time[2] / 1000
local tokens = limit
local bucket = redis.call('GET', KEYS[1])
if bucket then
  local before, at = string.match(bucket, '^(%S+) (%S+)$')
  tokens = math.min(limit, tonumber(before) + math.max(0, now - tonumber(at)) / ttl * limit)
end
local allowed = tokens + ${TOKEN_TOLERANCE} >= cost
if allowed then tokens = tokens - cost end
bucket = string.format('%.17g %.17g', tokens, now)
redis.call('SET', KEYS[1], bucket, 'PX', math.max(1, math.ceil((limit - tokens) / limit * ttl)))
return {allowed and 1 or 0, bucket}
`);

/** Buckets in Redis, shared by all instances that use it. */
export class RedisBuckets implements SharedBucketStore {
  constructor(private readonly redis: Redis) {}

  get isUp(): boolean {
    return this.redis.isUp;
  }

  async take(key: string, limit: Limit, cost: number): Promise<Taken> {
    const values = [limit.limit, limit.ttlMs, cost];
    const [allowed, bucket] = (await this.redis.evaluate(TAKE, [PREFIX + key], values)) as [number, string];
    const [tokens, atMs] = bucket.split(' ').map(Number);
    return outcome({ tokens, atMs }, allowed === 1, limit, cost);
  }
}
