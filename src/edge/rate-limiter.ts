import type { Logger } from 'pino';
import type { Config } from '../config.js';
import { AppError } from '../errors.js';
import type { MemoryBuckets } from './memory-buckets.js';
import type { Limit, LimitProfile, Principal } from './principal.js';
import { limitedNetwork } from './remote-address.js';
import type { SharedBucketStore, Taken } from './token-bucket.js';

/** The answer to "may this one in?"; all of it is told to the client. */
export interface LimitVerdict {
  readonly allowed: boolean;
  /** Requests per `ttlMs`, as they apply to this caller. */
  readonly limit: number;
  readonly ttlMs: number;
  readonly remaining: number;
  /** When all of `limit` can be had again, Unix milliseconds. */
  readonly resetAtMs: number;
  readonly retryAfterMs: number;
}

/** Ten attempts a minute: enough for a person who forgot, too few to guess a password. */
const LOGIN: Limit = { limit: 10, ttlMs: 60_000 };

const WARNING_INTERVAL_MS = 60_000;

/** How many requests of whom are let in. Every transport asks this one. */
export class RateLimiter {
  private readonly limits: Readonly<Record<LimitProfile, Limit>>;
  private nextWarningAtMs = 0;

  /**
   * @param own buckets of this process: all there is without `shared`, and what goes on while that is away
   * @param shared buckets of all processes together
   */
  constructor(
    config: Pick<
      Config,
      'THROTTLE_LIMIT' | 'THROTTLE_TTL' | 'THROTTLE_INGESTION_LIMIT' | 'THROTTLE_INGESTION_TTL'
    >,
    private readonly own: MemoryBuckets,
    private readonly shared: SharedBucketStore | undefined,
    private readonly log: Pick<Logger, 'warn'>,
  ) {
    this.limits = {
      default: { limit: config.THROTTLE_LIMIT, ttlMs: config.THROTTLE_TTL },
      ingestion: { limit: config.THROTTLE_INGESTION_LIMIT, ttlMs: config.THROTTLE_INGESTION_TTL },
      login: LOGIN,
    };
  }

  /**
   * Counts one request; never throws. Not a promise when the buckets are this process's own.
   *
   * @param principal undefined: not known, so `remoteAddress` is limited, as it is for anonymous ones
   * @param remoteAddress as `remoteAddress()` in remote-address.ts finds it
   * @returns undefined where there is no limit
   */
  take(
    profile: LimitProfile,
    principal: Principal | undefined,
    remoteAddress: string | undefined,
  ): LimitVerdict | undefined | Promise<LimitVerdict> {
    const limit = principal?.limits?.[profile] ?? this.limits[profile];
    if (limit.limit === 0) return undefined;
    const key =
      principal === undefined || principal.kind === 'anonymous'
        ? `${profile}:address:${remoteAddress === undefined ? '' : limitedNetwork(remoteAddress)}`
        : `${profile}:${principal.kind}:${principal.id}`;
    if (!this.shared?.isUp) return verdictOf(this.own.take(key, limit, 1), limit);
    return this.takeShared(this.shared, key, limit);
  }

  private async takeShared(shared: SharedBucketStore, key: string, limit: Limit): Promise<LimitVerdict> {
    try {
      return verdictOf(await shared.take(key, limit, 1), limit);
    } catch (error) {
      this.warnOfRefusal(shared, error);
      return verdictOf(this.own.take(key, limit, 1), limit);
    }
  }

  /** Redis full or read-only must be seen, but not once per request; its going away is logged by the connection. */
  private warnOfRefusal(shared: SharedBucketStore, error: unknown): void {
    const nowMs = performance.now();
    if (!shared.isUp || nowMs < this.nextWarningAtMs) return;
    this.nextWarningAtMs = nowMs + WARNING_INTERVAL_MS;
    this.log.warn({ err: error }, 'Shared rate limits cannot be used; each process has its own');
  }
}

function verdictOf(taken: Taken, { limit, ttlMs }: Limit): LimitVerdict {
  const { allowed, remaining, resetAtMs, retryAfterMs } = taken;
  return { allowed, limit, ttlMs, remaining, resetAtMs, retryAfterMs };
}

/** The headers of every limited answer, allowed or not; the reset in Unix seconds. */
export function rateLimitHeaders(verdict: LimitVerdict): [name: string, value: number][] {
  return [
    ['x-ratelimit-limit', verdict.limit],
    ['x-ratelimit-remaining', verdict.remaining],
    ['x-ratelimit-reset', Math.ceil(verdict.resetAtMs / 1000)],
  ];
}

/** @throws AppError RATE_LIMITED with the whole seconds to wait, 1 at least */
export function assertAllowed(verdict: LimitVerdict): void {
  if (verdict.allowed) return;
  const retryAfterSeconds = Math.max(1, Math.ceil(verdict.retryAfterMs / 1000));
  throw new AppError(
    'RATE_LIMITED',
    `More than ${verdict.limit} requests per ${verdict.ttlMs / 1000} s; try again in ${retryAfterSeconds} s.`,
    { retryAfterSeconds },
  );
}
