import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { cpus, tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { Session } from 'chdb';
import { readMigrations } from '../src/connections/migration-files.js';
import { SIGNALS, type Signal } from '../src/signal.js';
import { splitStatements } from '../src/sql/sql-text.js';
import { PACKAGE_ROOT } from '../src/version.js';
import { ALTERNATIVES, type IndexQuestion, QUESTIONS } from './index-questions.js';
import { type RowsOrder, telemetryRows } from './telemetry-rows.js';

/*
 * What each index gains and costs: `npm run bench:indexes [-- --rows 20000000]`. Rows are made inside the engine, over 30 days
 * in a temporary folder that is removed; about 90 bytes of disk per row and signal at most.
 */
const { values: options } = parseArgs({
  options: {
    rows: { type: 'string', default: '20000000' },
    'cost-rows': { type: 'string', default: '300000' },
    out: { type: 'string', default: join(PACKAGE_ROOT, 'bench', 'results', 'indexes.md') },
  },
});
const ROWS = Number(options.rows);
const COST_ROWS = Number(options['cost-rows']);
const DAYS = 30;
const DAY_MS = 86_400_000;
const RUNS = 7;
const START_MS = (Math.floor(Date.now() / DAY_MS) - DAYS) * DAY_MS;

const directory = mkdtempSync(join(tmpdir(), 'telemetryflow-indexes-'));
process.on('exit', () => rmSync(directory, { recursive: true, force: true }));
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, () => process.exit(1));
const session = new Session(join(directory, 'clickhouse'));
const migrations = await readMigrations(join(PACKAGE_ROOT, 'migrations', 'clickhouse'));
const lines: string[] = [];

function say(line: string): void {
  console.log(line);
  lines.push(line);
}
const progress = (text: string) => process.stderr.write(`... ${text}\n`);

async function ask<Row>(sql: string): Promise<Row[]> {
  const answer = await session.queryAsync(sql, { format: 'JSONEachRow' });
  const rows = answer.text().split('\n').filter(Boolean);
  return rows.map((line) => JSON.parse(line) as Row);
}

function cpuSeconds(): number {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1e6;
}

async function migrate(database: string, upTo = Number.POSITIVE_INFINITY): Promise<void> {
  await ask(`CREATE DATABASE IF NOT EXISTS ${database}`);
  await ask(`USE ${database}`);
  for (const { version, sql } of migrations)
    if (version <= upTo) for (const statement of splitStatements(sql)) await ask(statement);
}

/** One insert per day, one part of it: as merges leave a day behind, without their time. */
async function fill(signal: Signal): Promise<void> {
  const perDay = Math.ceil(ROWS / DAYS);
  for (let day = 0; day < DAYS; day++) {
    const from = day * perDay;
    const order: RowsOrder = {
      from,
      count: Math.min(perDay, ROWS - from),
      total: ROWS,
      days: DAYS,
      startMs: START_MS,
    };
    const { columns, select } = telemetryRows(signal, order);
    await ask(`INSERT INTO telemetry_${signal} (${columns}) ${select}
SETTINGS max_threads = 2, max_insert_threads = 1, min_insert_block_size_rows = 1000000, min_insert_block_size_bytes = 0`);
    if (day % 5 === 4) progress(`${signal}: ${Math.round((100 * (day + 1)) / DAYS)} % of ${ROWS} rows`);
  }
}

const TENANT = `organization_id = 'org-acme' AND workspace_id = 'production' AND tenant_id = 'acme'`;
const UNCACHED = 'use_query_condition_cache = 0';

async function medianMs(sql: string): Promise<number> {
  const times: number[] = [];
  for (let run = 0; run < RUNS; run++) {
    const before = performance.now();
    await ask(sql);
    times.push(performance.now() - before);
  }
  return times.sort((a, b) => a - b)[Math.floor(RUNS / 2)];
}

/** Granules that are read, of those that the partition key and the primary key leave. */
async function granules(select: string, index: string): Promise<string> {
  const plan = await ask<{ explain: string }>(
    `EXPLAIN indexes = 1 ${select} SETTINGS ${UNCACHED}, use_skip_indexes_on_data_read = 0`,
  );
  const text = plan.map(({ explain }) => explain.trim());
  const at = text.indexOf(`Name: ${index}`);
  return at < 0
    ? 'not used'
    : text
        .slice(at)
        .find((line) => line.startsWith('Granules:'))!
        .slice(10);
}

async function question({ index, signal, where, isOverTenants }: IndexQuestion): Promise<string> {
  const table = `telemetry_${signal}`;
  // What the answer shows is read for the rows that are found only, as in the program.
  const shown = { traces: 'span_name, attributes', logs: 'body, attributes', metrics: 'metric_name, value' }[
    signal
  ];
  const select = `SELECT timestamp, ${shown} FROM ${table} WHERE ${isOverTenants ? '' : `${TENANT} AND `}${where} LIMIT 1000`;
  const withIndex = await medianMs(`${select} SETTINGS ${UNCACHED}`);
  const without = await medianMs(`${select} SETTINGS ${UNCACHED}, ignore_data_skipping_indices = '${index}'`);
  const [{ bytes }] = await ask<{ bytes: number }>(
    `SELECT sum(data_compressed_bytes) / ${ROWS} AS bytes FROM system.data_skipping_indices WHERE database = 'full' AND table = '${table}' AND name = '${index}'`,
  );
  const read = await granules(select, index);
  return `${index} | ${signal} | \`${where.replaceAll('|', '\\|')}\` | ${read} | ${withIndex.toFixed(1)} | ${without.toFixed(1)} | ${bytes.toFixed(3)}`;
}

interface Variant {
  name: string;
  statements: string[];
}

/** CPU microseconds per row of inserting the same rows, the variants in turn so that a busy machine slows all alike. */
async function insertCosts(signal: Signal, variants: Variant[], settings = ''): Promise<number[]> {
  const table = `telemetry_${signal}`;
  const order: RowsOrder = { from: 0, count: COST_ROWS, total: COST_ROWS, days: 0.02, startMs: START_MS };
  const { columns, select } = telemetryRows(signal, order);
  await migrate('bare', 1);
  await ask('DROP TABLE IF EXISTS staged');
  await ask(`CREATE TABLE staged AS ${table} ENGINE = Memory`);
  await ask(`INSERT INTO staged (${columns}) ${select}`);
  const used = variants.map(() => Number.POSITIVE_INFINITY);
  for (let round = 0; round < 3; round++) {
    for (const [at, { statements }] of variants.entries()) {
      await ask('CREATE DATABASE probe');
      await ask('USE probe');
      await ask(`CREATE TABLE ${table} AS bare.${table}`);
      for (const statement of statements) await ask(statement);
      const before = cpuSeconds();
      await ask(`INSERT INTO ${table} (${columns}) SELECT ${columns} FROM bare.staged
SETTINGS max_threads = 1, max_insert_threads = 1, min_insert_block_size_rows = 1000000, min_insert_block_size_bytes = 0${settings}`);
      used[at] = Math.min(used[at], ((cpuSeconds() - before) / COST_ROWS) * 1e6);
      await ask('USE bare');
      await ask('DROP DATABASE probe SYNC');
    }
  }
  return used;
}

const thousand = (microseconds: number) => `${(1000 / microseconds).toFixed(0)} k`;

async function costOfEach(signal: Signal): Promise<Map<string, string>> {
  const defined = await ask<{ name: string; expr: string; type_full: string; granularity: number }>(
    `SELECT name, expr, type_full, granularity FROM system.data_skipping_indices WHERE database = 'full' AND table = 'telemetry_${signal}'`,
  );
  const variants = defined.map(({ name, expr, type_full, granularity }) => ({
    name,
    statements: [
      `ALTER TABLE telemetry_${signal} ADD INDEX ${name} ${expr} TYPE ${type_full}${type_full.startsWith('text') ? '' : ` GRANULARITY ${granularity}`}`,
    ],
  }));
  const [bare, ...each] = await insertCosts(signal, [{ name: 'none', statements: [] }, ...variants]);
  return new Map(variants.map(({ name }, at) => [name, `${thousand(bare)} | ${thousand(each[at])}`]));
}

async function indexes(): Promise<void> {
  say(`\n## Each index on the question it is for\n
Times are medians of ${RUNS} warm runs, one tenant (half of the rows) unless the question names an id, all ${DAYS} days, at most 1,000 rows shown.
Granules: read / left by partition and primary key. Rows per CPU-second: an insert without any index, and with this one alone written by it.\n`);
  say(
    '| index | table | question | granules | ms with | ms without | bytes per row | rows/CPU-s without | with |',
  );
  say('|---|---|---|---|---|---|---|---|---|');
  for (const signal of SIGNALS) {
    progress(`${signal}: what each index costs`);
    const costs = await costOfEach(signal);
    await ask('USE full');
    for (const asked of QUESTIONS.filter((one) => one.signal === signal))
      say(`| ${await question(asked)} | ${costs.get(asked.index)} |`);
  }
}

async function alternatives(): Promise<void> {
  say(`\n## Types compared\n\nOne index at a time on the first ${DAYS / 10} days of the same rows.\n`);
  say(
    '| table | index | granules | ms | bytes per row | rows/CPU-s without | with |\n|---|---|---|---|---|---|---|',
  );
  for (const signal of ['traces', 'logs'] as const) {
    const all = ALTERNATIVES.filter((one) => one.signal === signal);
    const add = (definition: string) => `ALTER TABLE telemetry_${signal} ADD INDEX tried ${definition}`;
    const variants = all.map(({ definition }) => ({ name: definition, statements: [add(definition)] }));
    const [bare, ...each] = await insertCosts(signal, [{ name: 'none', statements: [] }, ...variants]);
    for (const [at, { definition, where }] of all.entries()) {
      progress(`${signal}: ${definition}`);
      await migrate('tried', 1);
      await ask(add(definition));
      const { columns } = telemetryRows(signal, { from: 0, count: 1, total: 1, days: 1, startMs: START_MS });
      await ask(`INSERT INTO telemetry_${signal} (${columns}) SELECT ${columns} FROM full.telemetry_${signal}
WHERE timestamp < toDateTime64(${(START_MS + (DAYS / 10) * DAY_MS) / 1000}, 9)`);
      await ask(`OPTIMIZE TABLE telemetry_${signal} FINAL`);
      const select = `SELECT timestamp, attributes FROM telemetry_${signal} WHERE ${TENANT} AND ${where} LIMIT 1000`;
      const ms = await medianMs(`${select} SETTINGS ${UNCACHED}`);
      const [{ bytes }] = await ask<{ bytes: number }>(
        `SELECT (SELECT sum(data_compressed_bytes) FROM system.data_skipping_indices WHERE database = 'tried' AND table = 'telemetry_${signal}')
  / (SELECT count() FROM telemetry_${signal}) AS bytes`,
      );
      say(
        `| ${signal} | \`${definition}\` | ${await granules(select, 'tried')} | ${ms.toFixed(1)} | ${bytes.toFixed(2)} | ${thousand(bare)} | ${thousand(each[at])} |`,
      );
      await ask('USE full');
      await ask('DROP DATABASE tried SYNC');
    }
  }
}

async function disk(): Promise<void> {
  say(
    '\n## Disk, data and indexes, a part per day\n\n| table | rows | bytes per row | of them skip indexes |\n|---|---|---|---|',
  );
  const tables = await ask<{ table: string; rows: number; bytes: number; indexes: number }>(
    `SELECT table, sum(rows) AS rows, sum(bytes_on_disk) / ${ROWS} AS bytes, sum(secondary_indices_compressed_bytes) / ${ROWS} AS indexes
FROM system.parts WHERE active AND database = 'full' GROUP BY table HAVING rows > 0 ORDER BY table`,
  );
  for (const { table, rows, bytes, indexes } of tables)
    say(`| ${table} | ${rows} | ${bytes.toFixed(2)} | ${indexes.toFixed(2)} |`);
  say('\nThe lists and `trace_steps` are counted per row of the table that fills them.');
}

async function wholeInsert(): Promise<void> {
  say(
    '\n## An insert, all of the schema\n\n| signal | rows/CPU-s: tables alone | as the program inserts: codecs, columns, views | with every index written, too |\n|---|---|---|---|',
  );
  const all = migrations.filter(({ version }) => version > 1).flatMap(({ sql }) => splitStatements(sql));
  for (const signal of SIGNALS) {
    progress(`${signal}: whole inserts`);
    const own = all.filter(
      (sql) => /^CREATE TABLE/.test(sql) || new RegExp(`(ALTER TABLE|FROM) telemetry_${signal}\\b`).test(sql),
    );
    const statements = own.filter((sql) => !/MATERIALIZE INDEX|^INSERT/.test(sql));
    const variants = [
      { name: 'before', statements: [] },
      { name: 'after', statements },
    ];
    const deferred = await insertCosts(signal, variants, ', materialize_skip_indexes_on_insert = 0');
    const [, full] = await insertCosts(signal, variants);
    say(`| ${signal} | ${thousand(deferred[0])} | ${thousand(deferred[1])} | ${thousand(full)} |`);
  }
}

say(
  `# Indexes\n\n\`npm run bench:indexes\`, ${new Date().toISOString().slice(0, 10)}, ${ROWS} rows per table over ${DAYS} days and 3 tenants, ${cpus().length} cores (${cpus()[0].model}), Node ${process.version}.`,
);
await migrate('full');
for (const signal of SIGNALS) await fill(signal);
await disk();
await indexes();
await alternatives();
await wholeInsert();
writeFileSync(options.out, `${lines.join('\n')}\n`);
process.exit(0);
