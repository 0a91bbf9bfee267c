import { integer } from './setting-types.js';
import type { Signal } from './signal.js';

/** What is kept for a time of its own. */
export const DATA_TYPES = ['metrics', 'metrics_hourly', 'metrics_daily', 'logs', 'traces'] as const;
export type DataType = (typeof DATA_TYPES)[number];

/** Whole days from the time that a row bears. */
export type RetentionDays = Readonly<Record<DataType, number>>;
/** Where a tenant differs from the settings. */
export type RetentionOverride = Readonly<Partial<RetentionDays>>;

const MAX_DAYS = 3650;
export const DAY_MS = 86_400_000;

/** What is kept for how long: a part of the settings. */
export const RETENTION_SETTINGS = {
  RETENTION_DAYS: {
    schema: integer(1, MAX_DAYS),
    default: '30',
    meaning: 'how long telemetry is kept; what is older is refused on arrival (days)',
  },
  RETENTION_LOGS_DAYS: {
    schema: integer(1, MAX_DAYS),
    meaning: 'the same for log records alone; unset: RETENTION_DAYS',
  },
  RETENTION_TRACES_DAYS: {
    schema: integer(1, MAX_DAYS),
    meaning: 'the same for spans alone; unset: RETENTION_DAYS',
  },
  RETENTION_METRICS_DAYS: {
    schema: integer(1, MAX_DAYS),
    meaning: 'the same for data points alone; unset: RETENTION_DAYS',
  },
  RETENTION_METRICS_HOURLY_DAYS: {
    schema: integer(1, MAX_DAYS),
    default: '396',
    meaning: 'how long metrics rolled up by hour are kept, never shorter than the points (days)',
  },
  RETENTION_METRICS_DAILY_DAYS: {
    schema: integer(1, MAX_DAYS),
    default: '1826',
    meaning: 'the same by day, never shorter than the hours (days)',
  },
} as const;

interface RetentionConfig {
  RETENTION_LOGS_DAYS: number;
  RETENTION_TRACES_DAYS: number;
  RETENTION_METRICS_DAYS: number;
  RETENTION_METRICS_HOURLY_DAYS: number;
  RETENTION_METRICS_DAILY_DAYS: number;
}

/** How long each type is kept by the settings. */
export function defaultRetention(config: RetentionConfig): RetentionDays {
  return coarserLonger({
    logs: config.RETENTION_LOGS_DAYS,
    traces: config.RETENTION_TRACES_DAYS,
    metrics: config.RETENTION_METRICS_DAYS,
    metrics_hourly: config.RETENTION_METRICS_HOURLY_DAYS,
    metrics_daily: config.RETENTION_METRICS_DAILY_DAYS,
  });
}

/** From what age on an item of a signal is refused: days. */
export function acceptedDays(config: RetentionConfig): Readonly<Record<Signal, number>> {
  const { logs, traces, metrics } = defaultRetention(config);
  return { logs, traces, metrics };
}

/** Rollups answer for points that are gone, so what is coarser outlives what is finer. */
function coarserLonger(days: RetentionDays): RetentionDays {
  const metrics_hourly = Math.max(days.metrics_hourly, days.metrics);
  return { ...days, metrics_hourly, metrics_daily: Math.max(days.metrics_daily, metrics_hourly) };
}

/** Which rows of a table: those of these tenants alone, or of all but these. */
export interface Owners {
  isExcept: boolean;
  tenantIds: readonly string[];
}

/** How long everybody's data is kept: the settings, and where tenants differ from them. */
export class Retention {
  private readonly ofTenant: ReadonlyMap<string, RetentionDays>;

  constructor(
    readonly defaults: RetentionDays,
    overrides: ReadonlyMap<string, RetentionOverride> = new Map(),
  ) {
    this.ofTenant = new Map(
      [...overrides].map(([id, override]) => [id, coarserLonger({ ...defaults, ...override })]),
    );
  }

  of(tenantId: string): RetentionDays {
    return this.ofTenant.get(tenantId) ?? this.defaults;
  }

  /** The longest that anybody keeps any of these: days. */
  longest(types: readonly DataType[]): number {
    const all = [this.defaults, ...this.ofTenant.values()];
    return Math.max(...all.flatMap((days) => types.map((type) => days[type])));
  }

  /** Whose rows have expired where the youngest that can be is from before `endMs`; undefined: nobody's. */
  expired(type: DataType, endMs: number, nowMs: number): Owners | undefined {
    const isOver = (days: RetentionDays) => endMs <= nowMs - days[type] * DAY_MS;
    const different = [...this.ofTenant];
    if (isOver(this.defaults)) {
      const staying = different.filter(([, days]) => !isOver(days));
      return { isExcept: true, tenantIds: staying.map(([id]) => id) };
    }
    const going = different.filter(([, days]) => isOver(days));
    return going.length === 0 ? undefined : { isExcept: false, tenantIds: going.map(([id]) => id) };
  }
}
