import type { ClickHouse } from '../connections/clickhouse.js';
import { bindParameters } from '../connections/clickhouse-statement.js';
import type { Scope } from '../edge/scope.js';
import type { TimeRange } from '../http/time.js';
import { type Asking, TELEMETRY_TABLES, Where } from '../store/statement.js';
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

interface DayRow {
  day_ms: string;
  /** End of the last hour that is rolled up; 0: none. */
  until: string;
  /** End of the last hour whose raw points, hourly rows and daily rows were deleted. */
  dropped_until: [raw: string, hourly: string, daily: string];
  stale_hours: string[];
  is_rolled: number;
  is_current: number;
}

/** What the rollups can answer for, within a range. */
export async function readRollupState(scope: Scope, asking: Asking, range: TimeRange): Promise<RollupState> {
  const where = hoursWithin(new Where(scope), range);
  const dropped = (level: number) => `maxIf(hour_ms + ${HOUR_MS}, dropped_level >= ${level})`;
  const [days, oldest] = await Promise.all([
    asking.rows<DayRow>(
      `SELECT ${DAY} AS day_ms, maxIf(hour_ms + ${HOUR_MS}, rolled > 0) AS until, [${dropped(1)}, ${dropped(2)}, ${dropped(3)}] AS dropped_until,
  groupArrayIf(hour_ms, ${IS_STALE}) AS stale_hours, max(day_rolled) > 0 AS is_rolled, max(day_rolled) > max(written) AS is_current
FROM (SELECT ${HOURS} FROM rollup_hours WHERE ${where} GROUP BY hour) GROUP BY day_ms`,
      where,
    ),
    readOldest(scope, asking),
  ]);
  const largest = (of: (day: DayRow) => number) => days.reduce((most, day) => Math.max(most, of(day)), 0);
  const from = (at: 0 | 1 | 2) =>
    Math.max(
      oldest[at],
      largest((day) => Number(day.dropped_until[at])),
    );
  const stale = days.filter((day) => day.is_current === 0 || day.stale_hours.length > 0);
  return {
    hourlyUntilMs: largest((day) => Number(day.until)),
    dailyUntilMs: largest((day) => (day.is_rolled ? Number(day.day_ms) + DAY_MS : 0)),
    staleHours: new Set(days.flatMap((day) => day.stale_hours.map(Number))),
    staleDays: new Set(stale.map((day) => Number(day.day_ms))),
    rawFromMs: from(0),
    hourlyFromMs: from(1),
    dailyFromMs: from(2),
  };
}

/**
 * Where the oldest partition begins, of all tenants, of raw points, hours and days: partitions go whole. Known from the parts, without
 * reading rows.
 */
async function readOldest(
  scope: Scope,
  asking: Asking,
): Promise<[raw: number, hourly: number, daily: number]> {
  const tables = [TELEMETRY_TABLES.metrics, 'metrics_hourly', 'metrics_daily'];
  const partition = ['toStartOfDay', 'toStartOfMonth', 'toStartOfMonth'];
  const rows = await asking.rows<{ nth: number; seconds: string; n: string }>(
    tables
      .map(
        (table, nth) =>
          `SELECT ${nth} AS nth, toUnixTimestamp(toDateTime(${partition[nth]}(min(timestamp)), 'UTC')) AS seconds, count() AS n FROM ${table}`,
      )
      .join(' UNION ALL '),
    new Where(scope),
  );
  const oldest = (table: number) => {
    const { seconds, n } = rows.find(({ nth }) => nth === table)!;
    return n === '0' ? LAST_MS : Number(seconds) * 1000;
  };
  return [oldest(0), oldest(1), oldest(2)];
}

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
const LAST_MS = Number(LAST_SECOND) * 1000;
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
