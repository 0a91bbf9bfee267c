import { AppError } from '../errors.js';
import type { Scope } from './scope.js';

/** What a tenant may send in a day (UTC). Kept by `tenants/`, asked by every transport of OTLP. */
export interface Quotas {
  /**
   * Not a promise once the tenant is known to this process.
   *
   * @throws AppError RATE_LIMITED when its quota of today is used up
   */
  assertLeft(scope: Scope): void | Promise<void>;

  /** Counts what was acknowledged and will be stored: neither what was rejected, nor what came a second time. */
  count(scope: Scope, items: number, bytes: number): void;
}

/** Injection token of the `Quotas`. */
export const QUOTAS = Symbol('QUOTAS');

/** Items and bytes of request bodies, decompressed. */
export interface Usage {
  items: number;
  bytes: number;
}

const DAY_MS = 86_400_000;

/** The day of a time, UTC: days since 1970-01-01. */
export const dayOf = (nowMs: number): number => Math.floor(nowMs / DAY_MS);

/** A day as `YYYY-MM-DD`. */
export const dateOf = (day: number): string => new Date(day * DAY_MS).toISOString().slice(0, 10);

/**
 * @param quota per day; null: none
 * @throws AppError RATE_LIMITED naming the quota that `used` has reached, and the seconds until the day ends
 */
export function assertWithin(
  used: Usage,
  quota: { items: number | null; bytes: number | null },
  nowMs: number,
): void {
  const unit = (['items', 'bytes'] as const).find((name) => used[name] >= (quota[name] ?? Infinity));
  if (unit === undefined) return;
  throw new AppError(
    'RATE_LIMITED',
    `The tenant's quota of ${quota[unit]} ${unit} a day is used up; it starts anew at 00:00 UTC.`,
    { retryAfterSeconds: Math.ceil((DAY_MS - (nowMs % DAY_MS)) / 1000) },
  );
}
