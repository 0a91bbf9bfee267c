import type { ClickHouse } from '../connections/clickhouse.js';
import type { Scope } from '../edge/scope.js';
import { type Asking, TELEMETRY_TABLES, Where } from '../store/statement.js';

/** Unix milliseconds. */
export type OldestKept = readonly [raw: number, hourly: number, daily: number];

/** Partitions go once a day: what was there a second ago, and older than what is asked for, may be relied upon. */
const REMEMBER_MS = 1000;
/** Where there are no rows: the end of time, as DateTime has it. */
const LAST_MS = 4_294_000_000_000;

interface Remembered {
  /** Of this process' monotonic clock. */
  atMs: number;
  oldest: Promise<OldestKept>;
}
const remembered = new WeakMap<ClickHouse, Remembered>();

/**
 * Where the oldest partition begins, of all tenants, of raw points, hours and days: partitions go whole. Known from the parts, without
 * reading rows, and for a second from the last question, so that the panels of a dashboard ask once.
 *
 * @param fromMs what is remembered is good for this only when it lies before: otherwise older rows may have come since
 * @throws AppError as `Asking.rows`
 */
export async function oldestPartitions(
  scope: Scope,
  asking: Asking,
  clickhouse: ClickHouse,
  fromMs: number,
): Promise<OldestKept> {
  const nowMs = performance.now();
  const last = remembered.get(clickhouse);
  if (last && nowMs - last.atMs < REMEMBER_MS) {
    // Another's question can fail by itself, as when its caller hangs up.
    const known = await last.oldest.catch(() => undefined);
    if (known?.every((oldestMs) => oldestMs <= fromMs)) return known;
  }
  const oldest = readOldest(scope, asking);
  remembered.set(clickhouse, { atMs: nowMs, oldest });
  return oldest;
}

async function readOldest(scope: Scope, asking: Asking): Promise<OldestKept> {
  const tables = [TELEMETRY_TABLES.metrics, 'metrics_hourly', 'metrics_daily'];
  const partition = ['toStartOfDay', 'toStartOfMonth', 'toStartOfMonth'];
  const rows = await asking.rows<{ nth: number; seconds: number; n: number }>(
    tables
      .map(
        (table, nth) =>
          `SELECT ${nth} AS nth, toUnixTimestamp(toDateTime(${partition[nth]}(min(timestamp)), 'UTC')) AS seconds, count() AS n FROM ${table}`,
      )
      .join(' UNION ALL '),
    new Where(scope),
    undefined,
    { max_threads: 1, output_format_json_quote_64bit_integers: 0 },
  );
  const oldest = (table: number) => {
    const { seconds, n } = rows.find(({ nth }) => nth === table)!;
    return n === 0 ? LAST_MS : seconds * 1000;
  };
  return [oldest(0), oldest(1), oldest(2)];
}
