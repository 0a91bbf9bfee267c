import type { Logger } from 'pino';
import type { z } from 'zod';
import type { ClickHouse } from '../connections/clickhouse.js';
import type { AGGREGATION } from '../jobs/declared.js';
import type { Repeat, RunningJob } from '../jobs/job-queue.js';
import { type PendingHour, pendingDays, pendingHours } from '../series/rollup-hours.js';
import { DAY_MS, HOUR_MS } from '../series/rollup-plan.js';
import { rollUpDay, rollUpHours } from '../series/rollup-writing.js';

export type AggregationPayload = z.infer<(typeof AGGREGATION)['payload']>;

/** When metrics are rolled up: five past each hour, and the day before at twenty past midnight (UTC). */
export const ROLLUP_REPEATS: readonly (Repeat & { payload: AggregationPayload })[] = [
  { key: 'hourly', cron: '0 5 * * * *', payload: { step: 'hourly' } },
  { key: 'daily', cron: '0 20 0 * * *', payload: { step: 'daily' } },
];

/** A long catch-up says how far it is this often. */
const TELL_EVERY_MS = 30_000;

export interface AggregationSettings {
  /** Late rows change the hour that they belong to when they come no more than this after its end. */
  ROLLUP_LATE_HOURS: number;
  /** Raw points are kept for so long. */
  RETENTION_METRICS_DAYS: number;
}

export interface AggregationRun {
  nowMs: number;
  signal?: AbortSignal;
  /** 0 to 1. */
  progress?(share: number): Promise<void>;
}

/** What a run has written. */
export interface Aggregated {
  /** Of metrics_hourly and metrics_daily. */
  rows: number;
  /** Hours of tenants. */
  hours: number;
  /** Days of tenants. */
  days: number;
}

/**
 * Rolls metrics up, of all tenants: hours that have ended and are not rolled up, or that rows came for since. `daily` does so for however
 * late rows (`hourly`: up to ROLLUP_LATE_HOURS), and then for the days whose hours have changed.
 *
 * It may run at any time, any number of times, and in several processes at once: what is done is not done again, and rolling up twice
 * changes nothing. It can end between any two statements; the next run goes on.
 *
 * @throws ClickHouseError when the store is away or refuses; the signal's reason when it fires
 */
export async function aggregate(
  step: AggregationPayload['step'],
  clickhouse: ClickHouse,
  settings: AggregationSettings,
  log: Logger,
  run: AggregationRun,
): Promise<Aggregated> {
  const { nowMs, signal } = run;
  // Older raw points may be being dropped; what is rolled up of them must not be replaced by less.
  const fromMs = nowMs - settings.RETENTION_METRICS_DAYS * DAY_MS + HOUR_MS;
  const lateMs =
    step === 'daily' ? settings.RETENTION_METRICS_DAYS * DAY_MS : settings.ROLLUP_LATE_HOURS * HOUR_MS;
  const hours = neighbours(await pendingHours(clickhouse, { nowMs, fromMs, lateMs }));
  const tell = teller(step, log, run);
  const done: Aggregated = { rows: 0, hours: 0, days: 0 };
  for (const [at, { scope, hours: together }] of hours.entries()) {
    signal?.throwIfAborted();
    const { rows, kept } = await rollUpHours(clickhouse, { scope, hours: together }, signal);
    if (kept > 0)
      log.warn(
        { tenant: scope.tenantId, hours: kept },
        'Hours keep their rollup: raw points of them are gone',
      );
    done.rows += rows;
    done.hours += together.length - kept;
    await tell(at + 1, hours.length, done);
  }
  if (step === 'hourly') return done;
  const days = await pendingDays(clickhouse, { nowMs, fromMs });
  for (const [at, { scope, hourMs }] of days.entries()) {
    signal?.throwIfAborted();
    const { rows } = await rollUpDay(clickhouse, scope, hourMs, signal);
    done.rows += rows;
    done.days += 1;
    await tell(at + 1, days.length, done);
  }
  return done;
}

/** Hours of one tenant and day that follow each other are rolled up together: a catch-up of a quiet month is 30 steps and not 720. */
function neighbours(pending: PendingHour[]): { scope: PendingHour['scope']; hours: PendingHour[] }[] {
  const groups: { scope: PendingHour['scope']; hours: PendingHour[] }[] = [];
  let last: PendingHour | undefined;
  for (const hour of pending) {
    const follows =
      last !== undefined &&
      last.scope.tenantId === hour.scope.tenantId &&
      last.scope.workspaceId === hour.scope.workspaceId &&
      last.scope.organizationId === hour.scope.organizationId &&
      last.hourMs + HOUR_MS === hour.hourMs &&
      hour.hourMs % DAY_MS !== 0;
    if (follows) groups[groups.length - 1].hours.push(hour);
    else groups.push({ scope: hour.scope, hours: [hour] });
    last = hour;
  }
  return groups;
}

function teller(step: string, log: Logger, { progress }: AggregationRun) {
  let toldAtMs = performance.now();
  return async (done: number, of: number, written: Aggregated) => {
    if (performance.now() - toldAtMs < TELL_EVERY_MS) return;
    toldAtMs = performance.now();
    log.info({ step, done, of, ...written }, 'Rolling metrics up');
    await progress?.(done / of);
  };
}

/** Works off the jobs of AGGREGATION, one at a time in this process: two at once would do the same work twice. */
export class AggregationWorker {
  private last: Promise<unknown> = Promise.resolve();

  constructor(
    private readonly clickhouse: ClickHouse,
    private readonly settings: AggregationSettings,
    private readonly log: Logger,
  ) {}

  /** @returns counts of what was written */
  readonly handle = (job: RunningJob<AggregationPayload>): Promise<Aggregated> => {
    const run = this.last.then(async () => {
      const startedAtMs = performance.now();
      const { signal } = job;
      const progress = (share: number) => job.progress(share);
      const { step } = job.payload;
      const done = await aggregate(step, this.clickhouse, this.settings, this.log, {
        nowMs: Date.now(),
        signal,
        progress,
      });
      const seconds = Math.round((performance.now() - startedAtMs) / 100) / 10;
      this.log.info({ step, ...done, seconds }, 'Metrics rolled up');
      return done;
    });
    this.last = run.catch(() => undefined);
    return run;
  };
}
