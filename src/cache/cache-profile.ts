/** How long a value is kept in each tier; 0 in both: not at all. */
export interface CacheTtl {
  /** In the memory of this process. */
  readonly l1Seconds: number;
  /** In Redis. */
  readonly l2Seconds: number;
  /** When a value is this old, whoever asks still gets it, and it is computed anew beside; never unless given. */
  readonly refreshAfterSeconds?: number;
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

/** For how long a value has to be fresh yet, not to be computed anew beside. */
export const refreshBeforeMs = ({ l2Seconds, refreshAfterSeconds = l2Seconds }: CacheTtl): number =>
  (l2Seconds - refreshAfterSeconds) * 1000;

/** Where none is chosen: 1 minute, 30 minutes. */
export const DEFAULT_TTL: CacheTtl = { l1Seconds: 60, l2Seconds: 1_800 };
