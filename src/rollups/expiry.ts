import { randomUUID } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Logger } from 'pino';
import type { DataSource } from 'typeorm';
import type { StaleAnswers } from '../answers/stale-answers.js';
import type { ClickHouse } from '../connections/clickhouse.js';
import { quoteString } from '../connections/clickhouse-statement.js';
import { reach } from '../failpoints.js';
import { isCanary } from '../ledger/canary-scope.js';
import { recordLedger } from '../ledger/ledger-rows.js';
import type { Owners } from '../retention.js';
import { recordDropped } from '../series/rollup-hours.js';
import {
  AGING_TABLES,
  type AgingTable,
  countRows,
  findPartition,
  type HourCount,
  listPartitions,
  ownersSql,
  type Partition,
} from './aging-tables.js';
import {
  type Expiration,
  type ExpiryReason,
  forgetExpiration,
  noteExpiration,
  unfinishedExpirations,
} from './expiration-rows.js';

/** Any number that nothing else of the program uses: one process at a time drops data. */
const LOCK_KEY = 7_305_808_869_230_511;
/** Rows that come while it is counted are counted anew, so often at most. */
const MAX_COUNTS = 10;
const LOOK_MS = 100;
/** A mutation that takes longer goes on in the engine; the next run sees to it. */
const MAX_MUTATION_MS = 3_600_000;

/** What went from one partition. */
export interface Gone {
  partition: Pick<Partition, 'table' | 'id'>;
  /** All of it, by dropping the partition. */
  isWhole: boolean;
  counts: readonly HourCount[];
  /** Of the partition before. */
  bytes: number;
}

/**
 * Takes rows out of the store for good. Before they go they are counted, and the count is noted in PostgreSQL, written into the ledger and
 * logged. A run that is cut off at any point is carried out by the next one under the same token, so nothing is lost from the
 * count and nothing counted twice. Partitions that hold nothing else are dropped, from others the rows are deleted
 * (docs/decisions/retention.md).
 */
export class Expiry {
  private lastTurn: Promise<unknown> = Promise.resolve();

  constructor(
    readonly clickhouse: ClickHouse,
    readonly source: DataSource,
    private readonly answers: Pick<StaleAnswers, 'dropTenant'>,
    readonly log: Logger,
  ) {}

  /**
   * One after the other, in this process and in all that share the PostgreSQL server, what was cut off first.
   *
   * @param work is told what was cut off, and has gone now
   */
  alone<T>(work: (resumed: Gone[]) => Promise<T>, signal?: AbortSignal): Promise<T> {
    const turn = this.lastTurn.then(async () => {
      const runner = this.source.createQueryRunner();
      try {
        await runner.query('SELECT pg_advisory_lock($1)', [LOCK_KEY]);
        return await work(await this.resume(signal));
      } finally {
        await runner.query('SELECT pg_advisory_unlock($1)', [LOCK_KEY]).catch(() => undefined);
        await runner.release();
      }
    });
    this.lastTurn = turn.catch(() => undefined);
    return turn;
  }

  private async resume(signal?: AbortSignal): Promise<Gone[]> {
    const gone: Gone[] = [];
    for (const expiration of await unfinishedExpirations(this.source)) {
      this.log.info({ token: expiration.token }, 'An expiry that was cut off goes on');
      gone.push(await this.carryOut(expiration, signal));
    }
    return gone;
  }

  /**
   * Rows of these owners in a partition go. Within `alone`.
   *
   * @returns undefined when there were none
   * @throws ClickHouseError, or the signal's reason while it waits: what is noted is carried out by the next run
   */
  async expire(
    partition: Partition,
    owners: Owners,
    reason: ExpiryReason,
    signal?: AbortSignal,
  ): Promise<Gone | undefined> {
    signal?.throwIfAborted();
    const { table, id } = partition;
    if (table.dataType === undefined) return this.dropHelper(partition);
    const counts = await countRows(this.clickhouse, partition, owners);
    if (counts.length === 0) return undefined;
    const token = `expired ${table.name} ${id} ${randomUUID()}`;
    return this.carryOut(
      { token, tableName: table.name, partitionId: id, ...owners, reason, counts },
      signal,
    );
  }

  private async carryOut(planned: Expiration, signal?: AbortSignal): Promise<Gone> {
    const table = AGING_TABLES.find(({ name }) => name === planned.tableName)!;
    const { expiration, partition, isWhole } = await this.account(planned, table);
    const { token, partitionId: id, reason, counts } = expiration;
    reach('expiry-recorded');
    const bytes = partition?.bytes ?? 0;
    if (partition !== undefined) {
      const rows = sumRows(counts);
      const tenants = scopesOf(counts).length;
      const what = { table: table.name, partition: id, reason, rows, tenants, isWhole, bytes };
      this.log.info(what, 'Rows are dropped from the store');
      await this.tellRollups(partition, counts, isWhole);
      if (isWhole) await this.clickhouse.command(dropSql(partition));
      else await this.remove(partition, expiration, signal);
    }
    reach('expiry-dropped');
    await forgetExpiration(this.source, token);
    for (const scope of scopesOf(counts)) this.answers.dropTenant(scope, table.signal ?? 'metrics');
    return { partition: { table, id }, isWhole, counts, bytes };
  }

  /** Counts, notes and writes into the ledger, until no row has come meanwhile. */
  private async account(planned: Expiration, table: AgingTable) {
    let expiration = planned;
    for (let times = 1; ; times++) {
      const partition = await findPartition(this.clickhouse, table, planned.partitionId);
      const now = partition ? await countRows(this.clickhouse, partition, planned) : [];
      expiration = { ...planned, counts: larger(expiration.counts, now) };
      await noteExpiration(this.source, expiration);
      reach('expiry-noted');
      await this.recordItems(expiration, table);
      const after = await findPartition(this.clickhouse, table, planned.partitionId);
      const isWhole = partition !== undefined && sumRows(now) === partition.rows;
      if (after?.lastBlock === partition?.lastBlock || times === MAX_COUNTS)
        return { expiration, partition: now.length === 0 ? undefined : partition, isWhole };
    }
  }

  private async recordItems({ token, counts, reason }: Expiration, { signal }: AgingTable): Promise<void> {
    if (signal === undefined) return;
    const rows = counts
      .filter(({ scope }) => !isCanary(scope))
      .map(({ scope, hourMs: atMs, rows: items }) => ({
        ...{ scope, signal, atMs, items },
        outcome: 'expired' as const,
        reason: reason === 'age' ? '' : reason,
      }));
    if (rows.length > 0) await recordLedger(this.clickhouse, rows, token);
  }

  /** That the oldest partition goes is seen without being told; else answers would pass for whole ones. */
  private async tellRollups(
    { table, endMs }: Partition,
    counts: readonly HourCount[],
    isWhole: boolean,
  ): Promise<void> {
    if (table.source === undefined) return;
    const [oldest] = await listPartitions(this.clickhouse, [table]);
    if (isWhole && oldest.endMs === endMs) return;
    for (const scope of scopesOf(counts)) await recordDropped(this.clickhouse, scope, table.source, endMs);
  }

  private async remove(partition: Partition, owners: Owners, signal?: AbortSignal): Promise<void> {
    const { table, id } = partition;
    await this.clickhouse.command(
      `ALTER TABLE ${table.name} DELETE IN PARTITION ID ${quoteString(id)} WHERE ${ownersSql(owners)}`,
    );
    const startedAt = performance.now();
    for (;;) {
      const { rows } = await this.clickhouse.read<{ reason: string }>(
        `SELECT latest_fail_reason AS reason FROM system.mutations
WHERE database = {database:String} AND table = {table:String} AND NOT is_done AND position(command, {partition:String}) > 0`,
        {
          database: this.clickhouse.database,
          table: table.name,
          partition: `DELETE IN PARTITION ID '${id}'`,
        },
      );
      if (rows.length === 0) return;
      if (performance.now() - startedAt > MAX_MUTATION_MS)
        throw new Error(`Rows of ${table.name} ${id} are not deleted after an hour: ${rows[0].reason}`);
      await sleep(LOOK_MS, undefined, { signal });
    }
  }

  /** Nobody's data: not counted. */
  private async dropHelper(partition: Partition): Promise<Gone> {
    const { table, id, bytes } = partition;
    this.log.info(
      { table: table.name, partition: id, rows: partition.rows, bytes },
      'A partition is dropped',
    );
    await this.clickhouse.command(dropSql(partition));
    return { partition: { table, id }, isWhole: true, counts: [], bytes };
  }
}

const dropSql = ({ table, id }: Partition) =>
  `ALTER TABLE ${table.name} DROP PARTITION ID ${quoteString(id)}`;

export const sumRows = (counts: readonly HourCount[]) => counts.reduce((sum, { rows }) => sum + rows, 0);

const keyOf = ({ scope: { organizationId, workspaceId, tenantId }, hourMs }: HourCount) =>
  JSON.stringify([organizationId, workspaceId, tenantId, hourMs]);

function scopesOf(counts: readonly HourCount[]): HourCount['scope'][] {
  return [...new Map(counts.map((count) => [keyOf({ ...count, hourMs: 0 }), count.scope])).values()];
}

/** Of each tenant and hour the larger count: what was counted before may be gone in part. */
function larger(before: readonly HourCount[], now: readonly HourCount[]): HourCount[] {
  const counts = new Map(before.map((count) => [keyOf(count), count]));
  for (const count of now)
    if (count.rows > (counts.get(keyOf(count))?.rows ?? 0)) counts.set(keyOf(count), count);
  return [...counts.values()];
}
