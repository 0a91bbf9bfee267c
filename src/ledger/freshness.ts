import { Gauge, Histogram, type Registry } from 'prom-client';

const BUCKETS_SECONDS = [0.1, 0.2, 0.3, 0.4, 0.5, 0.75, 1, 1.5, 2, 3, 5, 10, 30, 60];
/** Not seen for so long, acknowledged data is late, or the store is away. */
const LATE_AFTER_MS = 60_000;

/** What `/health/ready` tells of it. Late data is no reason to send no more: it is safe in the queue. */
export interface FreshnessHealth {
  status: 'up';
  /** From the acknowledgement of the last item that was seen until it was; null: none yet. */
  ingest_visible_ms: number | null;
  degraded?: string;
}

/** How long acknowledged data took until it was seen, as the canary last measured it. */
export class Freshness {
  private visibleMs: number | null = null;
  private seenAtMs: number;
  private readonly seconds: Histogram;
  private readonly lastSuccess: Gauge;

  /** @param startedAtMs from when on something should have been seen */
  constructor(
    registry: Registry,
    private readonly isWatched: boolean,
    startedAtMs: number,
  ) {
    this.seenAtMs = startedAtMs;
    this.seconds = new Histogram({
      name: 'telemetryflow_canary_visible_seconds',
      help: 'From the acknowledgement of an item that the program sent itself until a question found it.',
      buckets: BUCKETS_SECONDS,
      registers: [registry],
    });
    this.lastSuccess = new Gauge({
      name: 'telemetryflow_canary_last_success_timestamp_seconds',
      help: 'When such an item was found last; 0: none yet.',
      registers: [registry],
    });
  }

  seen(visibleMs: number, nowMs: number): void {
    this.visibleMs = Math.round(visibleMs);
    this.seenAtMs = nowMs;
    this.seconds.observe(visibleMs / 1000);
    this.lastSuccess.set(nowMs / 1000);
  }

  /** undefined where nobody measures it. */
  health(nowMs: number): FreshnessHealth | undefined {
    if (!this.isWatched) return undefined;
    const health = { status: 'up', ingest_visible_ms: this.visibleMs } as const;
    const sinceMs = nowMs - this.seenAtMs;
    if (sinceMs <= LATE_AFTER_MS) return health;
    return { ...health, degraded: `no item has become visible for ${Math.round(sinceMs / 1000)} s` };
  }
}
