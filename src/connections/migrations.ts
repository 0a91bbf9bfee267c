import { join } from 'node:path';
import type { QueryRunner } from 'typeorm';
import { StartupError } from '../errors.js';
import type { ClickHouse } from './clickhouse.js';
import { isRetryable } from './clickhouse-errors.js';
import { quoteString } from './clickhouse-statement.js';
import {
  type AppliedMigration,
  migrationsFolder,
  pendingMigrations,
  readMigrations,
} from './migration-files.js';
import type { Postgres } from './postgres.js';
import { splitStatements } from './sql-text.js';

/** Any number that other programs on the same server hardly use: it names our migrations' advisory lock. */
const LOCK_KEY = 7_305_808_869_230_510;

const POSTGRES_TABLE = `CREATE TABLE IF NOT EXISTS schema_migrations (
  version integer PRIMARY KEY,
  name text NOT NULL,
  checksum text NOT NULL,
  applied_at timestamptz NOT NULL DEFAULT now()
)`;
const CLICKHOUSE_TABLE = `CREATE TABLE IF NOT EXISTS schema_migrations (
  version UInt32,
  name String,
  checksum String,
  applied_at DateTime64(3, 'UTC') DEFAULT now64(3)
) ENGINE = MergeTree ORDER BY version`;
const RECORDED = 'SELECT version, name, checksum FROM schema_migrations ORDER BY version, applied_at';

/**
 * Brings both databases to this program's schema. Of several processes that start at once one does it and the others
 * wait: PostgreSQL's advisory lock is held around ClickHouse's migrations too, which has no lock of its own.
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

async function appliedInClickHouse(clickhouse: ClickHouse): Promise<AppliedMigration[]> {
  try {
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
  const applied = await appliedInClickHouse(clickhouse);
  for (const migration of pendingMigrations('ClickHouse', files, applied)) {
    try {
      for (const statement of splitStatements(migration.sql)) await clickhouse.command(statement);
      const values = [migration.version, quoteString(migration.name), quoteString(migration.checksum)];
      await clickhouse.command(
        `INSERT INTO schema_migrations (version, name, checksum) VALUES (${values.join(', ')})`,
      );
    } catch (error) {
      throw new StartupError(`ClickHouse migration ${migration.name} failed: ${(error as Error).message}`);
    }
  }
}
