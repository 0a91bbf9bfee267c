import { createHash } from 'node:crypto';
import { existsSync } from 'node:fs';
import { readdir, readFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { StartupError } from '../errors.js';

/** One numbered file of migrations/<database>/. */
export interface Migration {
  version: number;
  /** File name, `001_telemetry.sql`. */
  name: string;
  sql: string;
  /** SHA-256 of the file, hexadecimal. */
  checksum: string;
  /** Of earlier texts that made what serves as well, from the file's lines `-- Earlier text: <SHA-256>`. */
  earlier: string[];
}

/** What a database has recorded of a migration. */
export interface AppliedMigration {
  version: number;
  name: string;
  checksum: string;
}

/** The package's `migrations` folder, found from wherever this file was compiled to or installed. */
export function migrationsFolder(): string {
  for (let folder = dirname(fileURLToPath(import.meta.url)); ; folder = dirname(folder)) {
    if (existsSync(join(folder, 'package.json')) && existsSync(join(folder, 'migrations'))) {
      return join(folder, 'migrations');
    }
    if (folder === dirname(folder))
      throw new StartupError('The folder `migrations` of the package is missing.');
  }
}

/**
 * The migrations in `folder`, in order.
 *
 * @throws StartupError when a name is not `NNN_name.sql` or a number is taken twice
 */
export async function readMigrations(folder: string): Promise<Migration[]> {
  const names = (await readdir(folder)).filter((name) => name.endsWith('.sql')).sort();
  const migrations: Migration[] = [];
  for (const name of names) {
    const version = Number(/^(\d{3,})_\w+\.sql$/.exec(name)?.[1] ?? Number.NaN);
    if (Number.isNaN(version))
      throw new StartupError(`Migration ${join(folder, name)} is not named NNN_name.sql.`);
    if (migrations.some((migration) => migration.version === version)) {
      throw new StartupError(`Two migrations in ${folder} have the number ${version}.`);
    }
    const sql = await readFile(join(folder, name), 'utf8');
    const checksum = createHash('sha256').update(sql).digest('hex');
    const earlier = [...sql.matchAll(/^-- Earlier text: ([0-9a-f]{64})\b/gm)].map(([, text]) => text);
    migrations.push({ version, name, sql, checksum, earlier });
  }
  return migrations;
}

/**
 * Which migrations are still to be applied, given what the database has recorded.
 *
 * @param database its name, for messages
 * @throws StartupError when a recorded file changed or is missing, the database is newer than this program, or a
 *   file has a number below the newest recorded one
 */
export function pendingMigrations(
  database: string,
  files: Migration[],
  applied: AppliedMigration[],
): Migration[] {
  const newest = Math.max(0, ...files.map((file) => file.version));
  for (const record of applied) {
    const file = files.find(({ version }) => version === record.version);
    if (record.version > newest) {
      throw new StartupError(
        `${database} is newer than this program: it has migration ${record.name}, and the newest known here is ` +
          `${newest}. Start the newer program, or restore the database from before the upgrade.`,
      );
    }
    if (!file)
      throw new StartupError(`${database} has migration ${record.name}, whose file is missing here.`);
    if (file.checksum !== record.checksum && !file.earlier.includes(record.checksum)) {
      throw new StartupError(
        `Migration ${file.name} was changed after ${database} applied it (SHA-256 ${record.checksum.slice(0, 12)}… ` +
          `then, ${file.checksum.slice(0, 12)}… now). Put the file back; changes belong into a new migration.`,
      );
    }
  }
  const last = Math.max(0, ...applied.map(({ version }) => version));
  const pending = files.filter(({ version }) => !applied.some((record) => record.version === version));
  const late = pending.find(({ version }) => version < last);
  if (late)
    throw new StartupError(`Migration ${late.name} comes too late: ${database} already has number ${last}.`);
  return pending;
}
