import type { ClickHouse } from '../connections/clickhouse.js';
import { bindParameters } from '../connections/clickhouse-statement.js';
import type { Scope } from '../edge/scope.js';
import type { TimeRange } from '../http/time.js';
import { type Asking, Where } from '../store/statement.js';
import { oldestPartitions } from './oldest-partitions.js';
import { DAY_MS, HOUR_MS, type RollupState, type Source } from './rollup-plan.js';

/**
 * An insert notes its hours when it begins, and its points are seen when it ends. So a note counts as news for an hour that was
 * rolled up so long after it, too: longer than any insert takes (its request is given up after two minutes).
 */
export const SETTLE_MS = 180_000;

const ms = (time: string) => `toUnixTimestamp64Milli(${time})`;

/** Of each hour: {hour, touched, rolled, written, day_rolled, points, dropped}, times in milliseconds. */
const HOURS = `toUnixTimestamp(hour) * 1000 AS hour_ms, ${ms('max(touched_at)')} AS touched, ${ms('max(rolled_at)')} AS rolled,
  ${ms('max(written_at)')} AS written, ${ms('max(day_rolled_at)')} AS day_rolled, max(points) AS of_points, max(dropped) AS dropped_level`;
const IS_STALE = `(rolled = 0 OR touched > rolled - ${SETTLE_MS})`;
const DAY = `intDiv(hour_ms, ${DAY_MS}) * ${DAY_MS}`;

/** Times in milliseconds, 0: never. */
interface HourRow {
  /** Seconds. */
  hour: number;
  touched: number;
  rolled: number;
  written: number;
  day_rolled: number;
  dropped: number;
}

/** These statements read so little that a second thread costs more than it helps. */
const SMALL = { max_threads: 1, output_format_json_quote_64bit_integers: 0 } as const;

/** What the rollups can answer for, within a range. */
export async function readRollupState(
  scope: Scope,
  asking: Asking,
  clickhouse: ClickHouse,
  range: TimeRange,
): Promise<RollupState> {
  const where = hoursWithin(new Where(scope), range);
  // The rest is counted here: said in SQL, it cost the engine twice as much to understand as to read the hours of a day.
  const [rows, oldest] = await Promise.all([
    asking.rows<HourRow>(
      `SELECT toUnixTimestamp(hour) AS hour, ${ms('max(touched_at)')} AS touched, ${ms('max(rolled_at)')} AS rolled,
  ${ms('max(written_at)')} AS written, ${ms('max(day_rolled_at)')} AS day_rolled, max(dropped) AS dropped
FROM rollup_hours WHERE ${where} GROUP BY hour`,
      where,
      undefined,
      SMALL,
    ),
    oldestPartitions(scope, asking, clickhouse, Number(range.fromNs / 1_000_000n)),
  ]);
  const hours = rows.map((row) => ({ ...row, hourMs: row.hour * 1000 }));
  const ends = (which: (row: HourRow) => boolean) =>
    hours.filter(which).map(({ hourMs }) => hourMs + HOUR_MS);
  const droppedUntil = (level: number) => largest(ends(({ dropped }) => dropped >= level));
  const stale = hours.filter(({ touched, rolled }) => rolled === 0 || touched > rolled - SETTLE_MS);
  const days = new Map<number, { rolled: number; written: number }>();
  for (const { hourMs, day_rolled, written } of hours) {
    const day = days.get(dayOf(hourMs));
    days.set(dayOf(hourMs), {
      rolled: Math.max(day?.rolled ?? 0, day_rolled),
      written: Math.max(day?.written ?? 0, written),
    });
  }
  const daysWhere = (which: (day: { rolled: number; written: number }) => boolean) =>
    [...days].filter(([, day]) => which(day)).map(([dayMs]) => dayMs);
  return {
    hourlyUntilMs: largest(ends(({ rolled }) => rolled > 0)),
    dailyUntilMs: largest(daysWhere(({ rolled }) => rolled > 0).map((dayMs) => dayMs + DAY_MS)),
    staleHours: new Set(stale.map(({ hourMs }) => hourMs)),
    staleDays: new Set([
      ...daysWhere(({ rolled, written }) => rolled <= written),
      ...stale.map(({ hourMs }) => dayOf(hourMs)),
    ]),
    rawFromMs: Math.max(oldest[0], droppedUntil(1)),
    hourlyFromMs: Math.max(oldest[1], droppedUntil(2)),
    dailyFromMs: Math.max(oldest[2], droppedUntil(3)),
  };
}

const dayOf = (ms: number) => ms - (ms % DAY_MS);
/** 0 when there is none. */
const largest = (numbers: readonly number[]) => numbers.reduce((most, number) => Math.max(most, number), 0);

/** The hours that lie in a range, the cut ones too. */
function hoursWithin(where: Where, { fromNs, toNs }: TimeRange): Where {
  const seconds = (ns: bigint) => where.bind('UInt32', String(bounded(ns / NS_PER_SECOND)));
  return where
    .and(`hour >= toStartOfHour(toDateTime(${seconds(fromNs)}, 'UTC'))`)
    .and(`hour < toDateTime(${seconds(toNs + NS_PER_SECOND - 1n)}, 'UTC')`);
}

const NS_PER_SECOND = 1_000_000_000n;
/** Seconds of a DateTime end in 2106; points lie at most an hour ahead of the clock. */
const LAST_SECOND = 4_294_000_000n;
const bounded = (seconds: bigint) => (seconds < LAST_SECOND ? seconds : LAST_SECOND);

/** Whether there were points in one of the stretches of time, or may have been. */
export async function hadPoints(scope: Scope, asking: Asking, stretches: TimeRange[]): Promise<boolean> {
  for (const stretch of stretches) {
    const where = hoursWithin(new Where(scope), stretch);
    const rows = await asking.rows(
      `SELECT hour FROM (SELECT hour, ${HOURS} FROM rollup_hours WHERE ${where} GROUP BY hour)
WHERE of_points > 0 OR rolled = 0 LIMIT 1`,
      where,
    );
    if (rows.length > 0) return true;
  }
  return false;
}

/** An hour that is to be rolled up. */
export interface PendingHour {
  scope: Scope;
  hourMs: number;
  /** Points that its rollup was made of; 0 when there is none. */
  points: number;
}

interface PendingRow {
  organization_id: string;
  workspace_id: string;
  tenant_id: string;
  hour_ms: string;
  of_points: string;
}

export interface PendingLimits {
  nowMs: number;
  /** Hours from before are left as they are: their raw points may be gone already. */
  fromMs: number;
  /** What came more than so long after the end of an hour that is rolled up does not change it. */
  lateMs: number;
}

const SCOPE = 'organization_id, workspace_id, tenant_id';

const toPending = (row: PendingRow): PendingHour => ({
  scope: { organizationId: row.organization_id, workspaceId: row.workspace_id, tenantId: row.tenant_id },
  hourMs: Number(row.hour_ms),
  points: Number(row.of_points),
});

/** Hours, of all tenants, that have ended and were not rolled up or were changed since; tenant by tenant, the oldest first. */
export async function pendingHours(clickhouse: ClickHouse, limits: PendingLimits): Promise<PendingHour[]> {
  const { nowMs, fromMs, lateMs } = limits;
  const { rows } = await clickhouse.read<PendingRow>(
    `SELECT ${SCOPE}, hour_ms, of_points FROM (
  SELECT ${SCOPE}, ${HOURS} FROM rollup_hours
  WHERE hour >= toDateTime({from:UInt32}, 'UTC') AND hour <= toDateTime({to:UInt32}, 'UTC') GROUP BY ${SCOPE}, hour
) WHERE ${IS_STALE} AND dropped_level = 0 AND (rolled = 0 OR touched <= hour_ms + ${HOUR_MS} + {late:Int64})
ORDER BY ${SCOPE}, hour_ms`,
    {
      from: Math.max(0, Math.floor(fromMs / 1000)),
      to: Math.floor((nowMs - HOUR_MS - SETTLE_MS) / 1000),
      late: String(lateMs),
    },
  );
  return rows.map(toPending);
}

/** Days that have ended and whose hours were rolled up since the day was; `hourMs` is the day's first hour. */
export async function pendingDays(
  clickhouse: ClickHouse,
  { nowMs, fromMs }: Omit<PendingLimits, 'lateMs'>,
): Promise<PendingHour[]> {
  const { rows } = await clickhouse.read<PendingRow>(
    `SELECT ${SCOPE}, ${DAY} AS hour_ms, sum(of_points) AS of_points FROM (
  SELECT ${SCOPE}, ${HOURS} FROM rollup_hours
  WHERE hour >= toDateTime({from:UInt32}, 'UTC') AND hour < toDateTime({to:UInt32}, 'UTC') GROUP BY ${SCOPE}, hour
)
GROUP BY ${SCOPE}, hour_ms HAVING max(written) > 0 AND max(dropped_level) < 2 AND max(day_rolled) <= max(written)
ORDER BY ${SCOPE}, hour_ms`,
    {
      from: Math.floor(Math.max(0, fromMs) / DAY_MS) * (DAY_MS / 1000),
      to: Math.floor((nowMs - SETTLE_MS) / DAY_MS) * (DAY_MS / 1000),
    },
  );
  return rows.map(toPending);
}

/** The engine's clock in milliseconds, which its notes of inserts are made by. */
export async function engineTime(clickhouse: ClickHouse): Promise<number> {
  const { rows } = await clickhouse.read<{ now: string }>(
    "SELECT toUnixTimestamp64Milli(now64(3, 'UTC')) AS now",
  );
  return Number(rows[0].now);
}

/** Notes that hours are rolled up: their rows, which are there, hold all that was stored until `asOfMs`. */
export async function recordHours(
  clickhouse: ClickHouse,
  scope: Scope,
  asOfMs: number,
  hours: readonly { hourMs: number; points: number }[],
): Promise<void> {
  const rows = hours.map(({ hourMs, points }) => `(${hourMs / 1000}, ${points})`);
  await record(
    clickhouse,
    scope,
    `hour, rolled_at, written_at, points`,
    `toDateTime(h, 'UTC'), fromUnixTimestamp64Milli(toInt64(${asOfMs})), now64(3, 'UTC'), n
FROM values('h UInt32, n UInt64', ${rows.join(', ')})`,
  );
}

/** Notes that a day is rolled up, from all that was written for its hours until `asOfMs`. */
export async function recordDay(
  clickhouse: ClickHouse,
  scope: Scope,
  asOfMs: number,
  dayMs: number,
): Promise<void> {
  await record(
    clickhouse,
    scope,
    'hour, day_rolled_at',
    `toDateTime(${dayMs / 1000}, 'UTC'), fromUnixTimestamp64Milli(toInt64(${asOfMs}))`,
  );
}

/** What is deleted, and how `dropped` says so: what is coarser is kept for longer. */
const DROPPED_LEVEL: Record<Source, number> = { raw: 1, metrics_hourly: 2, metrics_daily: 3 };

/**
 * To be called before rows of a tenant are deleted while others' stay: from then on its rollups of that time are not made anew, and answers that
 * need what is gone say that they are partial. (Whole partitions that go are seen without this.)
 *
 * @param source with all that is finer
 */
export async function recordDropped(
  clickhouse: ClickHouse,
  scope: Scope,
  source: Source,
  beforeMs: number,
): Promise<void> {
  const where = new Where(scope);
  const before = where.bind('UInt32', Math.floor(beforeMs / 1000));
  await clickhouse.command(
    bindParameters(
      `INSERT INTO rollup_hours (${SCOPE}, hour, dropped) SELECT DISTINCT ${SCOPE}, hour, ${DROPPED_LEVEL[source]} FROM rollup_hours
WHERE ${where} AND hour < toDateTime(${before}, 'UTC')`,
      where.params,
    ),
  );
}

async function record(clickhouse: ClickHouse, scope: Scope, columns: string, values: string): Promise<void> {
  await clickhouse.command(
    bindParameters(
      `INSERT INTO rollup_hours (${SCOPE}, ${columns}) SELECT {o:String}, {w:String}, {t:String}, ${values}`,
      { o: scope.organizationId, w: scope.workspaceId, t: scope.tenantId },
    ),
  );
}
