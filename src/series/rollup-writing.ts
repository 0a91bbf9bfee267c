import type { ClickHouse } from '../connections/clickhouse.js';
import { isTooExpensive } from '../connections/clickhouse-errors.js';
import type { Scope } from '../edge/scope.js';
import type { TimeRange } from '../http/time.js';
import { TELEMETRY_TABLES, Where } from '../store/statement.js';
import { RECORDED } from './point-changes.js';
import { engineTime, recordDay, recordHours } from './rollup-hours.js';
import { DAY_MS, HOUR_MS } from './rollup-plan.js';
import {
  type Batch,
  dailyStatement,
  hourlyStatement,
  ROLLED_KINDS,
  type RolledKind,
} from './rollup-statements.js';

/** Raw points, or hourly rows, that one statement takes; at 2 million it uses some 100 MB and takes a few seconds. */
const ROWS_PER_STATEMENT = 2_000_000;
const MAX_SLICES = 4096;

const KINDS = Object.keys(ROLLED_KINDS) as RolledKind[];
const KIND_OF_ROW = `multiIf(${KINDS.map((kind) => `${ROLLED_KINDS[kind]}, '${kind}'`).join(', ')}, '')`;
const rangeOf = (fromMs: number, toMs: number): TimeRange => ({
  fromNs: BigInt(fromMs) * 1_000_000n,
  toNs: BigInt(toMs) * 1_000_000n,
});

/** Rows that were written. */
export interface Written {
  rows: number;
  /** Hours that were left as they are, because raw points of them are gone since they were rolled up. */
  kept: number;
}

/** Hours in a row, of one day. */
export interface HoursToRoll {
  scope: Scope;
  hours: readonly { hourMs: number; points: number }[];
}

/**
 * Rolls raw points up into metrics_hourly, and notes it. Doing it again with the same points changes nothing that is read.
 *
 * @throws ClickHouseError; what was written until then stays, and is as right as what it replaced
 */
export async function rollUpHours(
  clickhouse: ClickHouse,
  { scope, hours }: HoursToRoll,
  signal?: AbortSignal,
): Promise<Written> {
  const asOfMs = await engineTime(clickhouse);
  const range = rangeOf(hours[0].hourMs, hours[hours.length - 1].hourMs + HOUR_MS);
  const counts = await countPoints(clickhouse, scope, range);
  const pointsOf = (hourMs: number) => sum(counts.filter((row) => row.hourMs === hourMs));
  const kept = hours.filter(({ hourMs, points }) => pointsOf(hourMs) < points);
  if (kept.length > 0 && hours.length > 1) return rollUpOneByOne(clickhouse, { scope, hours }, signal);
  if (kept.length === 0) {
    await writeAll(clickhouse, hourlyStatement, { scope, range, version: asOfMs }, counts, signal);
  }
  const rolled = hours.map(({ hourMs }) => ({ hourMs, points: pointsOf(hourMs) }));
  await recordHours(clickhouse, scope, asOfMs, rolled);
  return {
    rows: await countWritten(clickhouse, 'metrics_hourly', scope, range, asOfMs),
    kept: kept.length,
  };
}

async function rollUpOneByOne(
  clickhouse: ClickHouse,
  { scope, hours }: HoursToRoll,
  signal?: AbortSignal,
): Promise<Written> {
  const written = { rows: 0, kept: 0 };
  for (const hour of hours) {
    const { rows, kept } = await rollUpHours(clickhouse, { scope, hours: [hour] }, signal);
    written.rows += rows;
    written.kept += kept;
  }
  return written;
}

/** The same for a day, from its rows of metrics_hourly. */
export async function rollUpDay(
  clickhouse: ClickHouse,
  scope: Scope,
  dayMs: number,
  signal?: AbortSignal,
): Promise<Written> {
  const asOfMs = await engineTime(clickhouse);
  const range = rangeOf(dayMs, dayMs + DAY_MS);
  const counts = await countHourly(clickhouse, scope, range);
  await writeAll(clickhouse, dailyStatement, { scope, range, version: asOfMs }, counts, signal);
  await recordDay(clickhouse, scope, asOfMs, dayMs);
  return { rows: await countWritten(clickhouse, 'metrics_daily', scope, range, asOfMs), kept: 0 };
}

interface Count {
  hourMs: number;
  kind: RolledKind;
  rows: number;
}

async function writeAll(
  clickhouse: ClickHouse,
  statement: (batch: Batch) => string,
  what: Pick<Batch, 'scope' | 'range' | 'version'>,
  counts: Count[],
  signal: AbortSignal | undefined,
): Promise<void> {
  for (const kind of KINDS) {
    const rows = sum(counts.filter((row) => row.kind === kind));
    if (rows > 0) {
      const slices = Math.ceil(rows / ROWS_PER_STATEMENT);
      await writeSliced(clickhouse, (part) => statement({ ...what, kind, ...part }), slices, signal);
    }
  }
}

/** What needs too much memory is tried in smaller slices: a few large histograms weigh as much as many numbers. */
async function writeSliced(
  clickhouse: ClickHouse,
  statement: (part: Pick<Batch, 'slice' | 'slices'>) => string,
  slices: number,
  signal: AbortSignal | undefined,
): Promise<void> {
  try {
    for (let slice = 0; slice < slices; slice++) {
      signal?.throwIfAborted();
      await clickhouse.command(statement({ slice, slices }));
    }
  } catch (error) {
    if (!isTooExpensive(error) || slices * 4 > MAX_SLICES) throw error;
    await writeSliced(clickhouse, statement, slices * 4, signal);
  }
}

interface CountRow {
  hour_ms: string;
  kind: RolledKind;
  n: string;
}

const toCount = ({ hour_ms, kind, n }: CountRow): Count => ({
  hourMs: Number(hour_ms),
  kind,
  rows: Number(n),
});

async function countPoints(clickhouse: ClickHouse, scope: Scope, range: TimeRange): Promise<Count[]> {
  const where = new Where(scope).within(range).and(RECORDED).and("metric_type != 'none'");
  const { rows } = await clickhouse.read<CountRow>(
    `SELECT toUnixTimestamp(toStartOfHour(timestamp)) * 1000 AS hour_ms, ${KIND_OF_ROW} AS kind, count() AS n
FROM ${TELEMETRY_TABLES.metrics} WHERE ${where} GROUP BY hour_ms, kind`,
    where.params,
    READING,
  );
  return rows.map(toCount);
}

async function countHourly(clickhouse: ClickHouse, scope: Scope, range: TimeRange): Promise<Count[]> {
  const where = withinSeconds(new Where(scope), range);
  const { rows } = await clickhouse.read<CountRow>(
    `SELECT 0 AS hour_ms, ${KIND_OF_ROW} AS kind, count() AS n FROM metrics_hourly WHERE ${where} GROUP BY kind`,
    where.params,
    READING,
  );
  return rows.map(toCount);
}

async function countWritten(
  clickhouse: ClickHouse,
  table: string,
  scope: Scope,
  range: TimeRange,
  version: number,
): Promise<number> {
  const where = withinSeconds(new Where(scope), range);
  where.and(`version = ${where.bind('UInt64', String(version))}`);
  const { rows } = await clickhouse.read<{ n: string }>(
    `SELECT count() AS n FROM ${table} FINAL WHERE ${where}`,
    where.params,
    READING,
  );
  return Number(rows[0].n);
}

const READING = { maxExecutionSeconds: 300, settings: { max_threads: 1 } };

function withinSeconds(where: Where, { fromNs, toNs }: TimeRange): Where {
  const seconds = (ns: bigint) => `toDateTime(${where.bind('UInt32', String(ns / 1_000_000_000n))}, 'UTC')`;
  return where.and(`timestamp >= ${seconds(fromNs)} AND timestamp < ${seconds(toNs)}`);
}

const sum = (counts: Count[]) => counts.reduce((total, { rows }) => total + rows, 0);
