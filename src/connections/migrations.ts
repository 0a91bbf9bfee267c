import { join } from 'node:path';
import type { QueryRunner } from 'typeorm';
import { StartupError } from '../errors.js';
import { type ClusterPlace, clusterStatements } from '../sql/cluster-statements.js';
import { splitStatements } from '../sql/sql-text.js';
import type { ClickHouse } from './clickhouse.js';
import { isMissing, isRetryable } from './clickhouse-errors.js';
import { quoteString } from './clickhouse-statement.js';
import {
  type AppliedMigration,
  type Migration,
  migrationsFolder,
  pendingMigrations,
  readMigrations,
} from './migration-files.js';
import type { Postgres } from './postgres.js';

/** Any number that other programs on the same server hardly use: it names our migrations' advisory lock. */
const LOCK_KEY = 7_305_808_869_230_510;

const POSTGRES_TABLE = `CREATE TABLE IF NOT EXISTS schema_migrations (
  version integer PRIMARY KEY,
  name text NOT NULL,
  checksum text NOT NULL,
  applied_at timestamptz NOT NULL DEFAULT now()
)`;
const CLICKHOUSE_COLUMNS = `(
  version UInt32,
  name String,
  checksum String,
  applied_at DateTime64(3, 'UTC') DEFAULT now64(3)
)`;
const CLICKHOUSE_TABLE = `CREATE TABLE IF NOT EXISTS schema_migrations ${CLICKHOUSE_COLUMNS} ENGINE = MergeTree ORDER BY version`;
const RECORDED = 'SELECT version, name, checksum FROM schema_migrations ORDER BY version, applied_at';

/**
 * Brings both databases to this program's schema. Of several processes that start at once one does it and the others
 * wait: PostgreSQL's advisory lock is held around ClickHouse's migrations too, which has no lock of its own. On a cluster every
 * statement is run on all of its servers, from the one that is asked.
 *
 * A PostgreSQL file is applied whole or not at all. ClickHouse has no transactions: a file that was cut off is run
 * again from its first statement, so every statement in it must bear that (IF NOT EXISTS).
 *
 * @param folder the migrations, by default the package's own
 * @throws StartupError when a recorded file changed or is missing, a database is newer, or cannot be reached
 */
export async function migrate(
  postgres: Postgres,
  clickhouse: ClickHouse,
  folder = migrationsFolder(),
): Promise<void> {
  const runner = postgres.dataSource.createQueryRunner();
  try {
    await runner.query('SELECT pg_advisory_lock($1)', [LOCK_KEY]);
    await migratePostgres(runner, join(folder, 'postgres'));
    await migrateClickHouse(clickhouse, join(folder, 'clickhouse'));
  } finally {
    // Closing the connection would give the lock up too, but a pool keeps it.
    await runner.query('SELECT pg_advisory_unlock($1)', [LOCK_KEY]).catch(() => undefined);
    await runner.release();
  }
}

async function migratePostgres(runner: QueryRunner, folder: string): Promise<void> {
  const files = await readMigrations(folder);
  await runner.query(POSTGRES_TABLE);
  const applied = (await runner.query(RECORDED)) as AppliedMigration[];
  for (const migration of pendingMigrations('PostgreSQL', files, applied)) {
    await runner.startTransaction();
    try {
      for (const statement of splitStatements(migration.sql, 'postgres')) await runner.query(statement);
      const { version, name, checksum } = migration;
      const record = 'INSERT INTO schema_migrations (version, name, checksum) VALUES ($1, $2, $3)';
      await runner.query(record, [version, name, checksum]);
      await runner.commitTransaction();
    } catch (error) {
      await runner.rollbackTransaction().catch(() => undefined);
      throw new StartupError(`PostgreSQL migration ${migration.name} failed: ${(error as Error).message}`);
    }
  }
}

/** On a cluster every server has all rows, of whichever shard it is. */
const clusterTable = ({ cluster, database }: ClusterPlace) =>
  `CREATE TABLE IF NOT EXISTS \`${database}\`.schema_migrations ON CLUSTER '${cluster}' ${CLICKHOUSE_COLUMNS}
ENGINE = ReplicatedMergeTree('/clickhouse/tables/all/{database}/{table}', '{shard}-{replica}') ORDER BY version`;

/**
 * What a cluster has recorded. Where nothing is to be done nothing is: DDL waits for every server, and one that is away is no
 * reason not to start.
 */
async function appliedOnCluster(
  clickhouse: ClickHouse,
  place: ClusterPlace,
  files: Migration[],
): Promise<AppliedMigration[]> {
  const read = async () => (await clickhouse.read<AppliedMigration>(RECORDED)).rows;
  const known = await read().catch((error: unknown) => {
    if (!isMissing(error)) throw error;
    return [];
  });
  if (files.every(({ version }) => known.some((record) => record.version === version))) return known;
  await clickhouse.ensureDatabase();
  await clickhouse.command(clusterTable(place));
  // The server that is asked may not have heard yet what another one recorded.
  await clickhouse.command(
    `SYSTEM SYNC REPLICA ON CLUSTER '${place.cluster}' \`${place.database}\`.schema_migrations`,
  );
  return read();
}

/**
 * Tables of one server do not become a cluster's by a setting, and through a cluster's tables nothing may be written without what the
 * setting brings along (`CLUSTER_WRITES`).
 */
async function refuseOtherKind(clickhouse: ClickHouse): Promise<void> {
  const { rows } = await clickhouse.read(
    "SELECT 1 FROM system.tables WHERE database = currentDatabase() AND engine = 'Distributed' LIMIT 1",
  );
  const [was, is] = [rows.length > 0, clickhouse.cluster !== undefined];
  if (was === is) return;
  const kind = was ? 'for a cluster: set CLICKHOUSE_CLUSTER to its name' : 'without CLICKHOUSE_CLUSTER';
  throw new StartupError(
    `The tables of database ${clickhouse.database} were made ${kind}, or use another CLICKHOUSE_DATABASE.`,
  );
}

async function appliedInClickHouse(clickhouse: ClickHouse, files: Migration[]): Promise<AppliedMigration[]> {
  try {
    if (clickhouse.cluster) return await appliedOnCluster(clickhouse, clickhouse.cluster, files);
    await clickhouse.ensureDatabase();
    await clickhouse.command(CLICKHOUSE_TABLE);
    return (await clickhouse.read<AppliedMigration>(RECORDED)).rows;
  } catch (error) {
    if (!isRetryable(error)) throw error;
    throw new StartupError(`ClickHouse cannot be reached (CLICKHOUSE_URL): ${(error as Error).message}`);
  }
}

async function migrateClickHouse(clickhouse: ClickHouse, folder: string): Promise<void> {
  const files = await readMigrations(folder);
  const applied = await appliedInClickHouse(clickhouse, files);
  if (applied.length > 0) await refuseOtherKind(clickhouse);
  const { cluster } = clickhouse;
  for (const migration of pendingMigrations('ClickHouse', files, applied)) {
    try {
      for (const statement of splitStatements(migration.sql)) {
        const parts = cluster ? clusterStatements(statement, cluster) : [statement];
        for (const part of parts) await clickhouse.command(part);
      }
      const values = [migration.version, quoteString(migration.name), quoteString(migration.checksum)];
      await clickhouse.command(
        `INSERT INTO schema_migrations (version, name, checksum) VALUES (${values.join(', ')})`,
      );
    } catch (error) {
      throw new StartupError(`ClickHouse migration ${migration.name} failed: ${(error as Error).message}`);
    }
  }
}
