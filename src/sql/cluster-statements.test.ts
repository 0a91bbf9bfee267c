import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { loadConfig } from '../config.js';
import { type ClickHouse, openClickHouse } from '../connections/clickhouse.js';
import { quoteString } from '../connections/clickhouse-statement.js';
import { migrationsFolder, readMigrations } from '../connections/migration-files.js';
import { StartupError } from '../errors.js';
import { clusterStatements, onCluster, SHARDING_KEYS } from './cluster-statements.js';
import { splitStatements } from './sql-text.js';

const PLACE = { cluster: 'main', database: 'tf' };
const on = (statement: string) => clusterStatements(statement, PLACE);
const migrations = await readMigrations(join(migrationsFolder(), 'clickhouse'));
const statements = migrations.flatMap(({ sql }) => splitStatements(sql));
const made = statements.flatMap(on);
const startingWith = (start: string) => made.filter((statement) => statement.startsWith(start));

describe('A statement on a cluster', () => {
  it('that makes a table makes a replicated one of the shard, and a distributed one with its name', () => {
    const statement = `CREATE TABLE IF NOT EXISTS ledger (a String DEFAULT 'ENGINE = x', n UInt64) ENGINE = ReplacingMergeTree(n)
PARTITION BY n ORDER BY a SETTINGS non_replicated_deduplication_window = 5, fsync_after_insert = 1`;
    assert.deepEqual(on(statement), [
      `CREATE TABLE IF NOT EXISTS \`tf\`.\`ledger_local\` ON CLUSTER 'main' (a String DEFAULT 'ENGINE = x', n UInt64) ENGINE = ReplicatedReplacingMergeTree('/clickhouse/tables/{shard}/{database}/{table}', '{replica}', n)
PARTITION BY n ORDER BY a SETTINGS replicated_deduplication_window = 5, replicated_deduplication_window_seconds = 604800, fsync_after_insert = 1`,
      `CREATE TABLE IF NOT EXISTS \`tf\`.\`ledger\` ON CLUSTER 'main' AS \`tf\`.\`ledger_local\`
ENGINE = Distributed('main', 'tf', 'ledger_local', cityHash64(tenant_id, signal, minute, token))`,
    ]);
  });

  it('that makes a table without a deduplication window makes one without: replicated ones have it by default', () => {
    const [local] = on('CREATE TABLE ledger (n UInt64) ENGINE = MergeTree ORDER BY n');
    assert.match(
      local,
      /ENGINE = ReplicatedMergeTree\('[^']+', '\{replica\}'\) ORDER BY n\nSETTINGS replicated_deduplication_window = 0$/,
    );
  });

  it('that makes a table like another takes the local one', () => {
    const [local] = on('CREATE TABLE ledger AS rollup_hours\nENGINE = MergeTree ORDER BY n SETTINGS a = 1');
    assert.match(
      local,
      /^CREATE TABLE `tf`\.`ledger_local` ON CLUSTER 'main' AS `tf`\.`rollup_hours_local` ENGINE/,
    );
    assert.match(local, /SETTINGS a = 1, replicated_deduplication_window = 0$/);
  });

  it('that makes a view reads and writes the rows of its own server', () => {
    assert.deepEqual(
      on("CREATE MATERIALIZED VIEW v TO t AS SELECT ' FROM x' FROM (SELECT a FROM b GROUP BY a)"),
      [
        "CREATE MATERIALIZED VIEW `tf`.`v` ON CLUSTER 'main' TO `tf`.`t_local` AS SELECT ' FROM x' FROM (SELECT a FROM `tf`.`b_local` GROUP BY a)",
      ],
    );
  });

  it('that changes columns changes them in both tables, and all else in the local one', () => {
    const clauses = [
      "ADD COLUMN IF NOT EXISTS c Enum8('a,b' = 1, 'c' = 2) CODEC(Delta(8), ZSTD(1))",
      'MODIFY COLUMN d CODEC(ZSTD(1))',
      'ADD INDEX i (a, b) TYPE minmax',
      'MODIFY COLUMN e UInt64 CODEC(ZSTD(1))',
      'MODIFY SETTING non_replicated_deduplication_window = 2',
    ];
    const [local, both, ...more] = on(`ALTER TABLE t\n    ${clauses.join(', ')}`);
    assert.equal(
      local,
      `ALTER TABLE \`tf\`.\`t_local\` ON CLUSTER 'main'\n    ${clauses.join(',\n    ').replace('non_', '')}`,
    );
    assert.equal(both, `ALTER TABLE \`tf\`.\`t\` ON CLUSTER 'main'\n    ${clauses[0]},\n    ${clauses[3]}`);
    assert.deepEqual(more, []);
    assert.equal(on('ALTER TABLE t MATERIALIZE INDEX i').length, 1);
  });

  it('that empties or drops a table reaches every server, and waits until a table is gone', () => {
    assert.deepEqual(on('TRUNCATE TABLE t'), ["TRUNCATE TABLE `tf`.`t_local` ON CLUSTER 'main'"]);
    assert.deepEqual(on('DROP TABLE IF EXISTS t'), [
      "DROP TABLE IF EXISTS `tf`.`t` ON CLUSTER 'main' SYNC",
      "DROP TABLE IF EXISTS `tf`.`t_local` ON CLUSTER 'main' SYNC",
    ]);
  });

  it('of the program itself, on the rows of a table, names the local one on every server', () => {
    assert.equal(onCluster('ledger', PLACE), "`tf`.`ledger_local` ON CLUSTER 'main'");
  });

  it('that fills a table goes through the distributed ones', () => {
    const statement = "INSERT INTO a SELECT * FROM b WHERE c = 'ALTER TABLE x'";
    assert.deepEqual(on(statement), [statement]);
  });

  it('of a kind that is not known here, or of a table without a sharding key, is refused', () => {
    for (const statement of [
      'RENAME TABLE a TO b',
      'CREATE TABLE a (n UInt8) ENGINE = Memory',
      'OPTIMIZE TABLE a',
    ]) {
      assert.throws(() => on(statement), StartupError, statement);
    }
    assert.throws(
      () => on('CREATE TABLE a (n UInt8) ENGINE = MergeTree ORDER BY n'),
      /Table a has no sharding key/,
    );
  });
});

describe('The migrations on a cluster', () => {
  const directory = mkdtempSync(join(tmpdir(), 'telemetryflow-cluster-'));
  let engine: ClickHouse;
  before(async () => {
    engine = await openClickHouse(loadConfig({ DATA_DIR: directory, MEMORY_LIMIT: '1GiB' }));
  });
  after(async () => {
    await engine.close();
    rmSync(directory, { recursive: true, force: true });
  });

  it('are understood by the engine, statement by statement', async () => {
    for (const statement of made) {
      const { rows } = await engine.read<{ text: string }>(
        `SELECT formatQuery(${quoteString(statement)}) AS text`,
      );
      const isInsert = statement.startsWith('INSERT');
      assert.equal(/ ON CLUSTER '?main'?/.test(rows[0].text), !isInsert, rows[0].text);
    }
  });

  it('make no table that is not both replicated and distributed', () => {
    const tables = statements.flatMap(
      (statement) => /^CREATE TABLE IF NOT EXISTS (\w+)/.exec(statement)?.[1] ?? [],
    );
    assert.ok(tables.includes('telemetry_traces') && tables.length >= 10, String(tables));
    for (const table of tables) {
      const [local, ...others] = startingWith(
        `CREATE TABLE IF NOT EXISTS \`tf\`.\`${table}_local\` ON CLUSTER 'main'`,
      );
      assert.match(local, /ENGINE = Replicated\w*MergeTree\('\/clickhouse\/tables\/\{shard\}/);
      assert.deepEqual(others, []);
      const [distributed] = startingWith(`CREATE TABLE IF NOT EXISTS \`tf\`.\`${table}\` ON CLUSTER 'main'`);
      assert.ok(
        distributed.endsWith(`ENGINE = Distributed('main', 'tf', '${table}_local', ${SHARDING_KEYS[table]})`),
      );
    }
    assert.deepEqual(
      Object.keys(SHARDING_KEYS).filter((table) => !tables.includes(table)),
      [],
    );
    assert.ok(!made.some((statement) => statement.includes('non_replicated')));
  });

  it('have no view that reads or writes through the network', () => {
    const views = startingWith('CREATE MATERIALIZED VIEW');
    assert.ok(views.length >= 6);
    for (const view of views) {
      const named = [...view.matchAll(/\b(?:FROM|TO|JOIN) (`tf`\.)?(?:`(\w+)`|\w+)/g)];
      assert.ok(named.length >= 2);
      for (const [whole, , name] of named) assert.ok(name?.endsWith('_local'), whole);
    }
  });

  it('put rows that FINAL compares on one shard: the key is made of what they are ordered by', () => {
    for (const statement of statements.filter((text) =>
      /ENGINE = (Replacing|Aggregating)MergeTree/.test(text),
    )) {
      const table = /^CREATE TABLE IF NOT EXISTS (\w+)/.exec(statement)![1];
      const order = /ORDER BY \(([^)]+)\)/.exec(statement)![1].split(', ');
      const [, columns] = /^cityHash64\(([^()]+)\)$/.exec(SHARDING_KEYS[table])!;
      assert.deepEqual(
        columns.split(', ').filter((column) => !order.includes(column)),
        [],
        table,
      );
    }
  });
});
