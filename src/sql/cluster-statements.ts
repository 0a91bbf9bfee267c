import { StartupError } from '../errors.js';
import { sqlPieces } from './sql-text.js';

/**
 * Migrations are written for one server. On a cluster each table becomes two: `x_local`, which is replicated and holds a shard's
 * rows, and `x` itself, Distributed, which questions and inserts name. Views stay on the local tables, so that what they write
 * lies on the shard of the rows it comes from. Why each table is sharded as it is: docs/decisions/cluster.md.
 */

/** Where the tables are. Both names are word characters, dots and dashes. */
export interface ClusterPlace {
  cluster: string;
  database: string;
}

/**
 * By which expression a table's rows are spread: of one row always the same, so that a repeated insert goes where it went.
 * Rows with the same key in a table that is read with FINAL must meet on one shard, and so must a series' points.
 */
export const SHARDING_KEYS: Readonly<Record<string, string>> = {
  telemetry_traces: 'cityHash64(trace_id)',
  // Many records are of no trace: together they would all lie on one shard.
  telemetry_logs:
    "if(trace_id = toFixedString('', 16), cityHash64(tenant_id, service_name, timestamp), cityHash64(trace_id))",
  telemetry_metrics: 'cityHash64(tenant_id, metric_name, series_id)',
  metrics_hourly: 'cityHash64(tenant_id, metric_name, series_id)',
  metrics_daily: 'cityHash64(tenant_id, metric_name, series_id)',
  trace_steps: 'cityHash64(trace_id)',
  mv_service_list: 'cityHash64(tenant_id, service_name)',
  mv_metric_list: 'cityHash64(tenant_id, metric_name)',
  rollup_hours: 'cityHash64(tenant_id, hour)',
  ledger: 'cityHash64(tenant_id, signal, minute, token)',
};

/** The table of one server that holds the rows of `table`. */
export const localTable = (table: string, { database }: ClusterPlace) => `\`${database}\`.\`${table}_local\``;
const onAll = ({ cluster }: ClusterPlace) => `ON CLUSTER '${cluster}'`;

/** How a statement that changes rows, parts or structure names `table`: on every server of the cluster. */
export const onCluster = (table: string, place: ClusterPlace) =>
  `${localTable(table, place)} ${onAll(place)}`;

/** The replicas of one shard share a path. A table that is made anew has the same, so it must be gone first: DROP ... SYNC. */
const REPLICA = "'/clickhouse/tables/{shard}/{database}/{table}', '{replica}'";
/**
 * Blocks are forgotten after an hour by default, and a batch may wait for days in the queue before it is tried again. What has no
 * window on one server has none on a cluster: there the default is one.
 */
const WINDOW_SECONDS = 7 * 24 * 3600;

/** Quoted text is put aside, so that what follows need not know it; `restore` puts it back. */
function withoutQuotes(sql: string): { text: string; restore: (text: string) => string } {
  const quoted: string[] = [];
  const text = sqlPieces(sql)
    .map((piece) => (piece.kind === 'quoted' ? `\0${quoted.push(piece.text) - 1}\0` : piece.text))
    .join('');
  return { text, restore: (some) => some.replace(/\0(\d+)\0/g, (_, nth: string) => quoted[Number(nth)]) };
}

/**
 * What a statement of a migration becomes on a cluster, in this order.
 *
 * @param statement one, without comments, as `splitStatements` gives it
 * @throws StartupError when the statement is of a kind that has no meaning here yet, or its table no sharding key
 */
export function clusterStatements(statement: string, place: ClusterPlace): string[] {
  const { text, restore } = withoutQuotes(statement);
  for (const [pattern, rewrite] of REWRITES) {
    const match = pattern.exec(text);
    if (match) return rewrite(match, place).map(restore);
  }
  throw new StartupError(`This statement cannot be run on a cluster: ${statement.slice(0, 200)}`);
}

type Rewrite = (match: RegExpExecArray, place: ClusterPlace) => string[];
const REWRITES: [RegExp, Rewrite][] = [
  [
    /^CREATE TABLE (IF NOT EXISTS )?(\w+)([\s\S]*?)\bENGINE\s*=\s*(\w*MergeTree)\b(?:\s*\(([^()]*)\))?([\s\S]*)$/,
    createTable,
  ],
  [/^CREATE MATERIALIZED VIEW (IF NOT EXISTS )?(\w+)\s+TO\s+(\w+)\s+AS\b([\s\S]*)$/, createView],
  [/^ALTER TABLE (\w+)\s([\s\S]*)$/, alterTable],
  [
    /^TRUNCATE TABLE (IF EXISTS )?(\w+)$/,
    ([, ifExists = '', table], place) => [`TRUNCATE TABLE ${ifExists}${onCluster(table, place)}`],
  ],
  [
    /^DROP TABLE (IF EXISTS )?(\w+)$/,
    ([, ifExists = '', table], place) => [
      `DROP TABLE ${ifExists}${distributed(table, place)} ${onAll(place)} SYNC`,
      `DROP TABLE ${ifExists}${onCluster(table, place)} SYNC`,
    ],
  ],
  [
    /^DROP VIEW (IF EXISTS )?(\w+)$/,
    ([, ifExists = '', view], place) => [
      `DROP VIEW ${ifExists}${distributed(view, place)} ${onAll(place)} SYNC`,
    ],
  ],
  // Read and written through the Distributed tables: each row goes where its key says.
  [/^INSERT INTO [\s\S]*$/, ([insert]) => [insert]],
];

const distributed = (table: string, { database }: ClusterPlace) => `\`${database}\`.\`${table}\``;

function createTable(match: RegExpExecArray, place: ClusterPlace): string[] {
  const [, ifNotExists = '', table, columns, engine, parameters, rest] = match;
  const key = SHARDING_KEYS[table];
  if (key === undefined) throw new StartupError(`Table ${table} has no sharding key for a cluster.`);
  const of = columns.replace(/^\s+AS\s+(\w+)\s*$/, (_, other: string) => ` AS ${localTable(other, place)} `);
  const engineParameters = parameters?.trim() ? `${REPLICA}, ${parameters}` : REPLICA;
  return [
    `CREATE TABLE ${ifNotExists}${onCluster(table, place)}${of}ENGINE = Replicated${engine}(${engineParameters})${replicatedSettings(rest)}`,
    `CREATE TABLE ${ifNotExists}${distributed(table, place)} ${onAll(place)} AS ${localTable(table, place)}
ENGINE = Distributed('${place.cluster}', '${place.database}', '${table}_local', ${key})`,
  ];
}

function replicatedSettings(rest: string): string {
  const window = /\bnon_replicated_deduplication_window = (\d+)/;
  if (window.test(rest)) {
    const both = `replicated_deduplication_window = $1, replicated_deduplication_window_seconds = ${WINDOW_SECONDS}`;
    return rest.replace(window, both);
  }
  const none = 'replicated_deduplication_window = 0';
  return /\bSETTINGS\b/.test(rest) ? `${rest}, ${none}` : `${rest}\nSETTINGS ${none}`;
}

function createView(match: RegExpExecArray, place: ClusterPlace): string[] {
  const [, ifNotExists = '', view, target, select] = match;
  const local = select.replace(
    /\b(FROM|JOIN)(\s+)(\w+)\b(?!\s*\()/g,
    (_, word: string, space: string, table: string) => `${word}${space}${localTable(table, place)}`,
  );
  return [
    `CREATE MATERIALIZED VIEW ${ifNotExists}${distributed(view, place)} ${onAll(place)} TO ${localTable(target, place)} AS${local}`,
  ];
}

/** What makes or changes a column that can be named; its codec is the local table's alone. */
const OF_BOTH = /^(?:ADD|DROP|RENAME) COLUMN\b|^MODIFY COLUMN (?:IF EXISTS )?\w+ (?!CODEC\b)/;

function alterTable([, table, body]: RegExpExecArray, place: ClusterPlace): string[] {
  const clauses = atCommas(body);
  const statements = [`ALTER TABLE ${onCluster(table, place)}\n    ${clauses.join(',\n    ')}`];
  const ofBoth = clauses.filter((clause) => OF_BOTH.test(clause));
  if (ofBoth.length > 0)
    statements.push(
      `ALTER TABLE ${distributed(table, place)} ${onAll(place)}\n    ${ofBoth.join(',\n    ')}`,
    );
  return statements.map((statement) => statement.replaceAll('non_replicated_dedup', 'replicated_dedup'));
}

/** Cuts at commas outside parentheses. */
function atCommas(text: string): string[] {
  const parts = [''];
  let depth = 0;
  for (const character of text) {
    if (character === '(') depth++;
    if (character === ')') depth--;
    if (character === ',' && depth === 0) parts.push('');
    else parts[parts.length - 1] += character;
  }
  return parts.map((part) => part.trim());
}
