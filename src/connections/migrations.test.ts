import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { cpSync, mkdirSync, mkdtempSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, beforeEach, describe, it } from 'node:test';
import { loadConfig } from '../config.js';
import { StartupError } from '../errors.js';
import { ClickHouse, openClickHouse } from './clickhouse.js';
import { migrationsFolder } from './migration-files.js';
import { migrate } from './migrations.js';
import { openPostgres, type Postgres } from './postgres.js';

const folder = mkdtempSync(join(tmpdir(), 'tf-migrations-'));
after(() => rmSync(folder, { recursive: true, force: true }));

describe('migrations', () => {
  let postgres: Postgres;
  let clickhouse: ClickHouse;
  let files: string;
  let sets = 0;
  const write = (database: 'postgres' | 'clickhouse', name: string, sql: string) =>
    writeFileSync(join(files, database, name), sql);
  const run = () => migrate(postgres, clickhouse, files);
  const refused = (pattern: RegExp) =>
    assert.rejects(run(), (error: Error) => {
      assert.ok(error instanceof StartupError, String(error));
      assert.match(error.message, pattern);
      return true;
    });

  before(async () => {
    const config = loadConfig({ DATA_DIR: folder, MEMORY_LIMIT: '1GiB' });
    [postgres, clickhouse] = await Promise.all([openPostgres(config), openClickHouse(config)]);
  });
  after(async () => {
    await clickhouse.close();
    await postgres.close();
  });
  beforeEach(async () => {
    files = join(folder, `set${sets++}`);
    for (const database of ['postgres', 'clickhouse']) mkdirSync(join(files, database), { recursive: true });
    for (const table of ['schema_migrations', 'a', 'b']) {
      await clickhouse.command(`DROP TABLE IF EXISTS ${table}`);
      await postgres.query(`DROP TABLE IF EXISTS ${table}`);
    }
  });

  it('apply each file once, in order, and record what was applied', async () => {
    write('postgres', '001_a.sql', 'CREATE TABLE a (n integer);');
    write('clickhouse', '001_a.sql', 'CREATE TABLE IF NOT EXISTS a (n UInt8) ENGINE = MergeTree ORDER BY n;');
    await run();
    write('postgres', '002_b.sql', "ALTER TABLE a ADD COLUMN s text DEFAULT ';'; INSERT INTO a VALUES (1);");
    write(
      'clickhouse',
      '002_b.sql',
      "-- more; than one\nALTER TABLE a ADD COLUMN IF NOT EXISTS s String DEFAULT ';'",
    );
    await run();
    await run();
    assert.deepEqual(await postgres.query('SELECT * FROM a'), [{ n: 1, s: ';' }]);
    const recorded = 'SELECT name, length(checksum) AS digits FROM schema_migrations ORDER BY version';
    const expected = [
      { name: '001_a.sql', digits: 64 },
      { name: '002_b.sql', digits: 64 },
    ];
    assert.deepEqual(await postgres.query(recorded), expected);
    const settings = { output_format_json_quote_64bit_integers: 0 as const };
    assert.deepEqual((await clickhouse.read(recorded, {}, { settings })).rows, expected);
  });

  for (const database of ['postgres', 'clickhouse'] as const) {
    it(`refuse a ${database} file that was changed, is missing, is late, or is of a newer program`, async () => {
      const create = 'CREATE TABLE IF NOT EXISTS a (n integer)';
      const sql = database === 'postgres' ? create : `${create} ENGINE = MergeTree ORDER BY n`;
      write(database, '001_a.sql', sql);
      write(database, '003_c.sql', sql);
      await run();
      write(database, '001_a.sql', `${sql} `);
      await refused(/001_a\.sql was changed after/);
      renameSync(join(files, database, '001_a.sql'), join(files, 'aside'));
      await refused(/001_a\.sql, whose file is missing/);
      write(database, '001_a.sql', sql);
      write(database, '002_b.sql', sql);
      await refused(/002_b\.sql comes too late/);
      rmSync(join(files, database, '002_b.sql'));
      rmSync(join(files, database, '003_c.sql'));
      await refused(/is newer than this program: it has migration 003_c\.sql/);
    });
  }

  it('take a file for applied that was applied in a text which it names as earlier', async () => {
    const earlier = 'CREATE TABLE IF NOT EXISTS a (n UInt8) ENGINE = MergeTree ORDER BY n';
    write('clickhouse', '001_a.sql', earlier);
    await run();
    const checksum = createHash('sha256').update(earlier).digest('hex');
    write('clickhouse', '001_a.sql', `-- Earlier text: ${checksum} was as good.\nSELECT nonsense`);
    await run();
  });

  it('refuse names and numbers that are ambiguous', async () => {
    write('postgres', '1_a.sql', 'SELECT 1');
    await refused(/not named NNN_name\.sql/);
    rmSync(join(files, 'postgres', '1_a.sql'));
    write('postgres', '001_a.sql', 'SELECT 1');
    write('postgres', '001_b.sql', 'SELECT 1');
    await refused(/have the number 1/);
  });

  it('leave nothing of a PostgreSQL file that fails half-way', async () => {
    write('postgres', '001_a.sql', 'CREATE TABLE a (n integer); CREATE TABLE b (n nonsense)');
    await refused(/001_a\.sql failed: type "nonsense" does not exist/);
    await assert.rejects(postgres.query('SELECT * FROM a'), { code: '42P01' });
    write('postgres', '001_a.sql', 'CREATE TABLE a (n integer)');
    await run();
    assert.deepEqual(await postgres.query('SELECT * FROM a'), []);
  });

  it('go on after a stop between any two ClickHouse statements', async () => {
    const statements = [
      'CREATE TABLE IF NOT EXISTS a (n UInt8) ENGINE = MergeTree ORDER BY n',
      'ALTER TABLE a ADD COLUMN IF NOT EXISTS s String',
      'CREATE TABLE IF NOT EXISTS b (n UInt8) ENGINE = MergeTree ORDER BY n',
    ];
    write('clickhouse', '001_a.sql', statements.join(';\n'));
    for (let stopAfter = 0; stopAfter <= statements.length; stopAfter++) {
      for (const table of ['schema_migrations', 'a', 'b'])
        await clickhouse.command(`DROP TABLE IF EXISTS ${table}`);
      await assert.rejects(
        migrate(postgres, stoppingAfter(clickhouse, stopAfter + 1), files),
        /stopped here/,
      );
      await run();
      const { rows } = await clickhouse.read(
        "SELECT name FROM system.columns WHERE database = currentDatabase() AND table IN ('a', 'b') ORDER BY table, name",
      );
      assert.deepEqual(rows, [{ name: 'n' }, { name: 's' }, { name: 'n' }]);
    }
  });

  it('of the package itself apply from a copy of it anywhere, twice', async () => {
    for (const table of ['tenants', 'workspaces', 'organizations']) {
      await postgres.query(`DROP TABLE IF EXISTS ${table} CASCADE`);
    }
    cpSync(migrationsFolder(), files, { recursive: true });
    await run();
    await run();
    const { rows } = await clickhouse.read(
      "SELECT name FROM system.tables WHERE name LIKE 'telemetry_%' AND database = currentDatabase() ORDER BY name",
    );
    assert.deepEqual(rows.slice(0, 3), [
      { name: 'telemetry_logs' },
      { name: 'telemetry_metrics' },
      { name: 'telemetry_traces' },
    ]);
  });
});

/** The same database, whose connection is lost for good after so many commands. */
function stoppingAfter(clickhouse: ClickHouse, commands: number): ClickHouse {
  let left = commands;
  return new Proxy(clickhouse, {
    get(target, name) {
      if (name === 'command') {
        return (sql: string) => {
          if (left-- === 0) throw new StartupError('stopped here');
          return target.command(sql);
        };
      }
      const value = Reflect.get(target, name, target) as unknown;
      return typeof value === 'function' ? value.bind(target) : value;
    },
  });
}
