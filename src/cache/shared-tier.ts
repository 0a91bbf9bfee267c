import type { CacheKey } from './cache-key.js';
import type { Invalidation } from './invalidation.js';

/** The right to compute a value and to store it, until it is stored, given back, over, or what is computed is invalidated. */
export interface Lease {
  readonly token: string;
  /** The state of invalidations when it was given. */
  readonly began: string;
}

export interface Lookup {
  /** The value as text and for how long it is fresh; 0 or less: just over, still good where the source fails. */
  readonly found?: { readonly text: string; readonly freshMs: number };
  /** Given when it was asked for, there is no value that is fresh for long enough and nobody else has it. */
  readonly lease?: Lease;
}

export interface SharedTtl {
  readonly freshMs: number;
  /** For how long it is kept after that, for when the source fails. */
  readonly graceMs: number;
}

/**
 * The second tier, which instances share. Whoever computes holds a lease: what was computed is stored only while the lease holds and
 * nothing that means its key was invalidated since. All methods may reject; whether it was done is not known then.
 */
export interface SharedTier {
  /** False while asking would be in vain. */
  readonly isUp: boolean;
  /** What is there; no lease. */
  lookUp(key: CacheKey): Promise<Lookup>;
  /**
   * What is there, and the lease where that is not fresh.
   *
   * @param token unique for each attempt
   * @param leastFreshMs a value that is fresh for no longer than that is one to be computed anew
   */
  lease(key: CacheKey, token: string, leastFreshMs: number): Promise<Lookup>;
  /** Stores what the lease's holder has computed, and gives the lease back. Returns false when it must not be stored. */
  store(key: CacheKey, text: string, ttl: SharedTtl, lease: Lease): Promise<boolean>;
  /** Stores in place of whatever is there or being computed, and tells the others. */
  put(key: CacheKey, text: string, ttl: SharedTtl): Promise<void>;
  /** The lease is for another while. */
  renew(key: CacheKey, lease: Lease): Promise<void>;
  /** Gives a lease back without a value, so that the next may try. */
  release(key: CacheKey, lease: Lease): Promise<void>;
  /** Once it has returned nobody gets what was there before; all who listen are told. */
  invalidate(invalidation: Invalidation): Promise<void>;
}
