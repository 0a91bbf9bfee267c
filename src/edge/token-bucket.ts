import type { Limit } from './principal.js';

/** What is remembered of a bucket: how many tokens it had, and when that was. */
export interface Bucket {
  readonly tokens: number;
  /** Unix milliseconds, with fractions where the clock has them. */
  readonly atMs: number;
}

/** What became of an attempt to take tokens. */
export interface Taken {
  /** The bucket afterwards. */
  readonly bucket: Bucket;
  readonly allowed: boolean;
  /** Whole tokens left. */
  readonly remaining: number;
  /** When the bucket is full again if nothing more is taken, Unix milliseconds. */
  readonly resetAtMs: number;
  /** How long until as much can be had, 0 when it was. */
  readonly retryAfterMs: number;
}

/** Where buckets are kept. `take` is a promise only where keeping them takes time. */
export interface BucketStore {
  /**
   * Takes `cost` tokens from the bucket `key`, or none when there are not enough; one attempt at a time per bucket.
   *
   * @param limit with a limit of 1 or more
   */
  take(key: string, limit: Limit, cost: number): Taken | Promise<Taken>;
}

/** Buckets that several processes share, on a server that may be away. */
export interface SharedBucketStore extends BucketStore {
  /** False while asking would be in vain. */
  readonly isUp: boolean;
  /** @throws Error when the server does not answer in time; the token may have been taken */
  take(key: string, limit: Limit, cost: number): Promise<Taken>;
}

/** Injection token of the `SharedBucketStore`, or of undefined when this process has its own buckets only. */
export const SHARED_BUCKETS = Symbol('SHARED_BUCKETS');

/** Sums of fractions of tokens are off by less; without it the token that was waited for would be missing 1e-16. */
export const TOKEN_TOLERANCE = 1e-6;

/**
 * The token bucket, refilled continuously: `limit` tokens at first and at most, `limit` per `ttlMs` come back. So within any
 * time t no more than `limit + t / ttlMs * limit` are let through. A clock that is set back gives nothing and takes nothing:
 * the bucket refills from the new time on.
 *
 * @param bucket undefined: one that was not used before, or was full and forgotten
 */
export function takeTokens(bucket: Bucket | undefined, limit: Limit, cost: number, nowMs: number): Taken {
  const elapsedMs = bucket === undefined ? 0 : Math.max(0, nowMs - bucket.atMs);
  const refill = (elapsedMs / limit.ttlMs) * limit.limit;
  const before = bucket === undefined ? limit.limit : Math.min(limit.limit, bucket.tokens + refill);
  const allowed = before + TOKEN_TOLERANCE >= cost;
  return outcome({ tokens: allowed ? before - cost : before, atMs: nowMs }, allowed, limit, cost);
}

/** All that follows from what is left; apart from `takeTokens` for stores that do their own taking. */
export function outcome(bucket: Bucket, allowed: boolean, { limit, ttlMs }: Limit, cost: number): Taken {
  const msPerToken = ttlMs / limit;
  return {
    bucket,
    allowed,
    remaining: Math.max(0, Math.floor(bucket.tokens + TOKEN_TOLERANCE)),
    resetAtMs: bucket.atMs + (limit - bucket.tokens) * msPerToken,
    retryAfterMs: allowed ? 0 : (cost - bucket.tokens) * msPerToken,
  };
}
