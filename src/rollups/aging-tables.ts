import type { ClickHouse } from '../connections/clickhouse.js';
import { quoteString } from '../connections/clickhouse-statement.js';
import type { Scope } from '../edge/scope.js';
import { DAY_MS, type DataType, type Owners } from '../retention.js';
import type { Source } from '../series/rollup-plan.js';
import type { Signal } from '../signal.js';

/** A table whose rows go when they are too old. */
export interface AgingTable {
  name: string;
  /** Rows are kept as long as the longest of these. */
  dataTypes: readonly DataType[];
  /** Column of the rows' own time, which partitions are made by. */
  time: string;
  partition: 'day' | 'month';
  /** Rows are items, counted by tenant; undefined: they only help to find those, and are nobody's. */
  dataType?: DataType;
  /** Rows are what was received: the ledger accounts for them. */
  signal?: Signal;
  /** What the rollups must know of rows that go. */
  source?: Source;
}

const raw = (signal: Signal, source?: Source): AgingTable => ({
  name: `telemetry_${signal}`,
  dataTypes: [signal],
  time: 'timestamp',
  partition: 'day',
  dataType: signal,
  signal,
  source,
});
const rollup = (name: 'metrics_hourly' | 'metrics_daily'): AgingTable => ({
  name,
  dataTypes: [name],
  time: 'timestamp',
  partition: 'month',
  dataType: name,
  source: name,
});

/** The finer before the coarser. A table that is not there has no partitions. */
export const AGING_TABLES: readonly AgingTable[] = [
  raw('traces'),
  raw('logs'),
  raw('metrics', 'raw'),
  rollup('metrics_hourly'),
  rollup('metrics_daily'),
  { name: 'trace_steps', dataTypes: ['traces'], time: 'step', partition: 'day' },
  { name: 'mv_service_list', dataTypes: ['logs', 'traces', 'metrics'], time: 'step', partition: 'day' },
  { name: 'mv_metric_list', dataTypes: ['metrics'], time: 'hour', partition: 'day' },
  { name: 'rollup_hours', dataTypes: ['metrics_daily'], time: 'hour', partition: 'month' },
];

/** Rows of a table that lie and go together. */
export interface Partition {
  table: AgingTable;
  /** `20261124`, `202611`. */
  id: string;
  /** UTC; its rows bear times in [startMs, endMs). */
  startMs: number;
  endMs: number;
  rows: number;
  bytes: number;
  /** Grows with every insert. */
  lastBlock: number;
}

interface Row {
  table: string;
  partition_id: string;
  n: string;
  bytes: string;
  last_block: string;
}

/** The partitions that there are, the oldest first. Known from the parts, no rows are read. @throws ClickHouseError */
export async function listPartitions(
  clickhouse: ClickHouse,
  tables: readonly AgingTable[] = AGING_TABLES,
): Promise<Partition[]> {
  const { rows } = await clickhouse.read<Row>(
    `SELECT table, partition_id, sum(rows) AS n, sum(bytes_on_disk) AS bytes, max(max_block_number) AS last_block FROM system.parts
WHERE database = {database:String} AND active AND table IN {tables:Array(String)} GROUP BY table, partition_id`,
    { database: clickhouse.database, tables: tables.map(({ name }) => name) },
  );
  const partitions = rows.flatMap((row): Partition[] => {
    const table = tables.find(({ name }) => name === row.table)!;
    const times = timesOf(table, row.partition_id);
    if (times === undefined || row.n === '0') return [];
    const [rows, bytes, lastBlock] = [row.n, row.bytes, row.last_block].map(Number);
    return [{ table, id: row.partition_id, ...times, rows, bytes, lastBlock }];
  });
  return partitions.sort((a, b) => a.endMs - b.endMs || a.table.name.localeCompare(b.table.name));
}

/** The partition as it is now; undefined: it has no rows. */
export async function findPartition(
  clickhouse: ClickHouse,
  table: AgingTable,
  id: string,
): Promise<Partition | undefined> {
  return (await listPartitions(clickhouse, [table])).find((partition) => partition.id === id);
}

function timesOf({ partition }: AgingTable, id: string): { startMs: number; endMs: number } | undefined {
  const [, year, month, day] = /^(\d{4})(\d\d)(\d\d)?$/.exec(id) ?? [];
  if (year === undefined || (day === undefined) !== (partition === 'month')) return undefined;
  const startMs = Date.UTC(Number(year), Number(month) - 1, Number(day ?? 1));
  const endMs = partition === 'day' ? startMs + DAY_MS : Date.UTC(Number(year), Number(month), 1);
  return { startMs, endMs };
}

/** Rows of one tenant and hour. */
export interface HourCount {
  scope: Scope;
  hourMs: number;
  rows: number;
}

const MAX_COUNT_SECONDS = 600;

/** Counts rows of a partition by tenant and hour of their own times. @throws ClickHouseError */
export async function countRows(
  clickhouse: ClickHouse,
  { table, id }: Pick<Partition, 'table' | 'id'>,
  owners: Owners,
): Promise<HourCount[]> {
  const { rows } = await clickhouse.read<{ o: string; w: string; t: string; hour: string; n: string }>(
    `SELECT organization_id AS o, workspace_id AS w, tenant_id AS t, toUnixTimestamp(toStartOfHour(${table.time})) AS hour, count() AS n
FROM ${table.name} WHERE _partition_id = {id:String} AND ${ownersSql(owners)} GROUP BY o, w, t, hour`,
    { id },
    { maxExecutionSeconds: MAX_COUNT_SECONDS },
  );
  return rows.map(({ o, w, t, hour, n }) => ({
    scope: { organizationId: o, workspaceId: w, tenantId: t },
    hourMs: Number(hour) * 1000,
    rows: Number(n),
  }));
}

/** The condition that a row is theirs. */
export function ownersSql({ isExcept, tenantIds }: Owners): string {
  if (tenantIds.length === 0) return isExcept ? 'true' : 'false';
  return `tenant_id ${isExcept ? 'NOT IN' : 'IN'} (${tenantIds.map(quoteString).join(', ')})`;
}
