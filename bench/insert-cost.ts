import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { Session } from 'chdb';
import { INSERT_SETTINGS, settingList } from '../src/connections/clickhouse-statement.js';
import { readMigrations } from '../src/connections/migration-files.js';
import { SIGNALS, type Signal } from '../src/signal.js';
import { splitStatements } from '../src/sql/sql-text.js';
import { Transcoder } from '../src/transcode/transcoder.js';
import { PACKAGE_ROOT } from '../src/version.js';
import { makeLogsBody, makeMetricsBody, makeTracesBody } from '../test/support/otlp-bodies.js';
import { variantsOf } from './insert-variants.js';

/*
 * What the engine uses for a row, its insert and the first merge of ten inserts, with all of the schema and with one thing left out
 * or made otherwise, in turn so that a busy machine slows all alike: `node dist/bench/insert-cost.js [--rows 60000] [--rounds 3]
 * [--signals logs] [--only 'text index']`. With `--rows 100` the cost of an insert whatever its rows.
 */
const { values: options } = parseArgs({
  options: {
    rows: { type: 'string', default: '60000' },
    rounds: { type: 'string', default: '3' },
    signals: { type: 'string', default: SIGNALS.join(',') },
    only: { type: 'string', default: '' },
  },
});
const MAKE = { traces: makeTracesBody, logs: makeLogsBody, metrics: makeMetricsBody };
const INSERTS = 10;
const ROWS = Number(options.rows);
const ITEMS = Math.min(1000, ROWS);
const directory = mkdtempSync(join(tmpdir(), 'telemetryflow-insert-cost-'));
process.on('exit', () => rmSync(directory, { recursive: true, force: true }));
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, () => process.exit(1));
const session = new Session(join(directory, 'clickhouse'));
const migrations = await readMigrations(join(PACKAGE_ROOT, 'migrations', 'clickhouse'));

async function ask<Row>(sql: string): Promise<Row[]> {
  const answer = await session.queryAsync(sql, { format: 'JSONEachRow' });
  const rows = answer.text().split('\n').filter(Boolean);
  return rows.map((line) => JSON.parse(line) as Row);
}

function cpuSeconds(): number {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1e6;
}

interface Batch {
  source: string;
  columns: string;
}

function makeBatches(signal: Signal): Batch[] {
  const transcoder = new Transcoder(signal);
  return Array.from({ length: INSERTS }, (_, batch) => {
    const nowMs = Date.now() + batch * 300;
    for (let at = 0; at < ROWS / ITEMS; at++) {
      const body = MAKE[signal]({ items: ITEMS, seed: batch * 1000 + at, nowMs });
      transcoder.add(body, { receivedAtMs: nowMs, retentionDays: 30 });
    }
    const block = transcoder.finish();
    const path = join(directory, 'batches', `${signal}-${batch}.native`);
    writeFileSync(path, Buffer.concat(block.chunks));
    return {
      columns: block.columns.map((name) => `\`${name}\``).join(', '),
      source: `file('${path}', Native, '${block.structure.replaceAll("'", "\\'")}')`,
    };
  });
}

interface Cost {
  /** CPU microseconds per row. */
  insert: number;
  merge: number;
  bytes: number;
  indexBytes: number;
}

async function costOf(signal: Signal, batches: Batch[], upTo: number, statements: string[]): Promise<Cost> {
  const table = `telemetry_${signal}`;
  await ask('CREATE DATABASE probe');
  await ask('USE probe');
  for (const { version, sql } of migrations)
    if (version <= upTo) for (const statement of splitStatements(sql)) await ask(statement);
  for (const statement of statements) await ask(statement);
  await ask('SYSTEM STOP MERGES');
  const settings = settingList(INSERT_SETTINGS).map(({ sql }) => sql);
  const begin = cpuSeconds();
  for (const { source, columns } of batches)
    await ask(`INSERT INTO ${table} (organization_id, workspace_id, tenant_id, ${columns}) SELECT 'o', 'w', 't', ${columns} FROM ${source}
SETTINGS ${settings.join(', ')}`);
  const inserted = cpuSeconds();
  await ask('SYSTEM START MERGES');
  const tables = await ask<{ name: string }>(
    `SELECT DISTINCT table AS name FROM system.parts WHERE database = 'probe' AND active AND rows > 0`,
  );
  for (const { name } of tables) await ask(`OPTIMIZE TABLE \`${name}\` FINAL`);
  const merged = cpuSeconds();
  const rows = ROWS * INSERTS;
  const [size] = await ask<{ bytes: number; indexes: number }>(
    `SELECT sum(bytes_on_disk) / ${rows} AS bytes, sum(secondary_indices_compressed_bytes) / ${rows} AS indexes
FROM system.parts WHERE active AND database = 'probe' AND table = '${table}'`,
  );
  await ask('USE default');
  await ask('DROP DATABASE probe SYNC');
  const perRow = (seconds: number) => (seconds / rows) * 1e6;
  return {
    insert: perRow(inserted - begin),
    merge: perRow(merged - inserted),
    bytes: size.bytes,
    indexBytes: size.indexes,
  };
}

mkdirSync(join(directory, 'batches'));
console.log(
  `${INSERTS} inserts of ${ROWS} rows, then one merge; CPU microseconds per row, least and median of ${options.rounds}\n`,
);
console.log(
  '| signal | variant | insert | merge | both, median | bytes | of it indexes |\n|---|---|---|---|---|---|---|',
);
const middle = (values: number[]) => values.sort((a, b) => a - b)[Math.floor(values.length / 2)];
for (const signal of options.signals.split(',') as Signal[]) {
  const batches = makeBatches(signal);
  const variants = variantsOf(signal).filter(({ name }) => new RegExp(options.only).test(name));
  const costs = variants.map((): Cost[] => []);
  for (let round = 0; round < Number(options.rounds); round++)
    for (const [at, { upTo = Number.POSITIVE_INFINITY, statements = [] }] of variants.entries())
      costs[at].push(await costOf(signal, batches, upTo, statements));
  for (const [at, { name }] of variants.entries()) {
    const least = (of: (cost: Cost) => number) => Math.min(...costs[at].map(of));
    const cells = [least(({ insert }) => insert), least(({ merge }) => merge)];
    cells.push(middle(costs[at].map(({ insert, merge }) => insert + merge)));
    const sizes = [costs[at][0].bytes, costs[at][0].indexBytes].map((bytes) => bytes.toFixed(2));
    console.log(
      `| ${signal} | ${name} | ${cells.map((cell) => cell.toFixed(2)).join(' | ')} | ${sizes.join(' | ')} |`,
    );
  }
}
process.exit(0);
