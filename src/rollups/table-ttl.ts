import type { Logger } from 'pino';
import type { ClickHouse } from '../connections/clickhouse.js';
import { DAY_MS, type Retention } from '../retention.js';
import { AGING_TABLES, type AgingTable } from './aging-tables.js';

/** What the TTL takes is in no count, so it is far behind the cleanup: a program that was stopped for weeks still counts first. */
const MARGIN_DAYS = 30;
const MONTH_DAYS = 31;

/**
 * Gives each table a TTL as the backstop: parts that nobody has a right to any more go even when the cleanup does not run. What goes
 * by it is not counted, so it comes days later than the cleanup.
 *
 * @param change `raise`: only to make it longer or where there is none; `any`: when all that is older was dropped and counted
 * @throws ClickHouseError
 */
export async function keepTtl(
  clickhouse: ClickHouse,
  retention: Retention,
  change: 'raise' | 'any',
  log: Logger,
): Promise<void> {
  const { rows } = await clickhouse.read<{ name: string; engine: string }>(
    `SELECT name, engine_full AS engine FROM system.tables WHERE database = {database:String} AND name IN {tables:Array(String)}`,
    { database: clickhouse.database, tables: AGING_TABLES.map(({ name }) => name) },
  );
  for (const { name, engine } of rows) {
    const table = AGING_TABLES.find((one) => one.name === name)!;
    const days = ttlDays(table, retention);
    const now = /\bTTL toDateTime\(\w+\) \+ toIntervalDay\((\d+)\)/.exec(engine)?.[1];
    if (Number(now) === days || (change === 'raise' && now !== undefined && Number(now) > days)) continue;
    // Parts that are there learn it from their times alone, and are dropped whole or not at all.
    await clickhouse.command(
      `ALTER TABLE ${name} MODIFY SETTING ttl_only_drop_parts = 1, materialize_ttl_recalculate_only = 1`,
    );
    await clickhouse.command(
      `ALTER TABLE ${name} MODIFY TTL toDateTime(${table.time}) + INTERVAL ${days} DAY`,
    );
    log.info({ table: name, days, before: now ?? null }, 'The TTL of a table is set');
  }
}

export function ttlDays({ dataTypes, partition }: AgingTable, retention: Retention): number {
  return retention.longest(dataTypes) + MARGIN_DAYS + (partition === 'month' ? MONTH_DAYS : 0);
}

/** Rows from before have expired for everybody, by the longest retention of their kinds. */
export function expiredForAll({ dataTypes }: AgingTable, retention: Retention, nowMs: number): number {
  return nowMs - retention.longest(dataTypes) * DAY_MS;
}
