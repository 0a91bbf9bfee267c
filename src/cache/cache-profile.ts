/** How long a value is kept in each tier; 0 in both: not at all. */
export interface CacheTtl {
  /** In the memory of this process. */
  readonly l1Seconds: number;
  /** In Redis. */
  readonly l2Seconds: number;
}

/** The lifetimes to choose from. Results of queries take SHORT: five minutes. */
export const CacheProfile = {
  /** 1 minute, 5 minutes. */
  SHORT: { l1Seconds: 60, l2Seconds: 300 },
  /** 5 minutes, 30 minutes. */
  MEDIUM: { l1Seconds: 300, l2Seconds: 1_800 },
  /** 30 minutes, 1 hour. */
  LONG: { l1Seconds: 1_800, l2Seconds: 3_600 },
  /** 1 hour, 24 hours. */
  STATIC: { l1Seconds: 3_600, l2Seconds: 86_400 },
  /** Computed each time, by each caller. */
  NONE: { l1Seconds: 0, l2Seconds: 0 },
} as const satisfies Record<string, CacheTtl>;

/** Where none is chosen: 1 minute, 30 minutes. */
export const DEFAULT_TTL: CacheTtl = { l1Seconds: 60, l2Seconds: 1_800 };
