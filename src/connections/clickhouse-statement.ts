import { TupleParam } from '@clickhouse/client';
import { sqlPieces } from '../sql/sql-text.js';

/**
 * Statements for the embedded engine, where three things that an HTTP server does for a request are ours to do:
 * put in the parameters, carry the settings of one statement, and keep a read from doing anything but reading.
 *
 * The engine's own parameter binding is not used: its parameters are shared by all sessions of the process, so
 * chdb runs such queries one at a time, and a slow one would hold up every other.
 */

export type SettingValue = string | number | boolean;

/** `text` as a string literal. */
export const quoteString = (text: string) =>
  `'${text.replace(/\\/g, '\\\\').replace(/'/g, "\\'").replace(/\0/g, '\\0')}'`;

/** `name` as a quoted identifier. */
export const quoteName = (name: string) => `\`${name.replace(/\\/g, '\\\\').replace(/`/g, '\\`')}\``;

/** Dates as the official client sends them: seconds, with three decimals when there are milliseconds. */
function dateText(date: Date): string {
  const milliseconds = date.getTime();
  const seconds = Math.floor(milliseconds / 1000);
  const rest = milliseconds - seconds * 1000;
  return rest === 0 ? String(seconds) : `${seconds}.${String(rest).padStart(3, '0')}`;
}

function mapLiteral(entries: Iterable<[unknown, unknown]>): string {
  const parts = [...entries].flatMap(([key, value]) => [literal(key), literal(value)]);
  return `map(${parts.join(',')})`;
}

/** A value as SQL. Scalars are strings, which the cast around them turns into the wanted type exactly. */
function literal(value: unknown): string {
  if (value === null || value === undefined) return 'NULL';
  if (typeof value === 'string') return quoteString(value);
  if (typeof value === 'number') return quoteString(Object.is(value, -0) ? '-0' : String(value));
  if (typeof value === 'bigint' || typeof value === 'boolean') return quoteString(String(value));
  if (value instanceof Date) return quoteString(dateText(value));
  if (Array.isArray(value)) return `[${value.map(literal).join(',')}]`;
  if (value instanceof TupleParam) return `tuple(${value.values.map(literal).join(',')})`;
  if (value instanceof Map) return mapLiteral(value);
  if (typeof value === 'object') return mapLiteral(Object.entries(value));
  throw new TypeError(`A ${typeof value} cannot be a query parameter`);
}

/**
 * Puts the parameters into `{name:Type}` places: `_CAST('value', 'Type')`, which is what the server's own
 * substitution makes of them; `{name:Identifier}` becomes a quoted name. Values never become live SQL.
 *
 * @throws TypeError when a parameter is missing or has no SQL form
 */
export function bindParameters(sql: string, parameters: Readonly<Record<string, unknown>> = {}): string {
  const bind = (place: string): string => {
    const [, name, type] = /^\{\s*(\w+)\s*:\s*([\s\S]*?)\s*\}$/.exec(place)!;
    const value = Object.hasOwn(parameters, name) ? parameters[name] : undefined;
    if (value === undefined) throw new TypeError(`Query parameter ${place} has no value`);
    if (type === 'Identifier') return quoteName(String(value));
    if (type === 'String' && typeof value === 'string') return quoteString(value);
    return `_CAST(${literal(value)}, ${quoteString(type)})`;
  };
  return sqlPieces(sql)
    .map(({ kind, text }) => (kind === 'place' ? bind(text) : text))
    .join('');
}

/** Settings of the HTTP layer, which mean nothing to the embedded engine and are unknown to it. */
const HTTP_ONLY = new Set([
  'wait_end_of_query',
  'cancel_http_readonly_queries_on_client_close',
  'default_format',
  'enable_http_compression',
  'http_headers_progress_interval_ms',
  'http_response_buffer_size',
  'send_progress_in_http_headers',
]);

/** `name = value` of every setting that the embedded engine knows, in the order given. */
export function settingList(settings: Readonly<Record<string, unknown>>): { name: string; sql: string }[] {
  return Object.entries(settings)
    .filter(([name, value]) => value !== undefined && !HTTP_ONLY.has(name))
    .map(([name, value]) => {
      if (!/^\w+$/.test(name)) throw new TypeError(`${JSON.stringify(name)} is no setting name`);
      const text = typeof value === 'boolean' ? Number(value) : value;
      return { name, sql: `${name} = ${typeof text === 'number' ? text : quoteString(String(text))}` };
    });
}

const READS = /^\s*(?:\(|(?:SELECT|WITH|SHOW|DESCRIBE|DESC|EXISTS|EXPLAIN)\b)/i;
const NOT_IN_READS = /;|\bINTO\s+OUTFILE\b|\bfile\s*\(|\bSETTINGS\b/i;

/**
 * Lets only a plain read through: one SELECT or the like, without SETTINGS of its own. A second wall beside
 * `readonly = 1`, which still allows KILL QUERY, and on the embedded engine two ways to files.
 *
 * @throws TypeError when the text is anything else
 */
export function assertRead(sql: string): void {
  const live = sqlPieces(sql)
    .map(({ kind, text }) => (kind === 'code' ? text : ' '))
    .join('');
  if (!READS.test(live)) throw new TypeError(`Not a read: ${sql.trim().slice(0, 60)}`);
  const forbidden = NOT_IN_READS.exec(live);
  if (forbidden) throw new TypeError(`${JSON.stringify(forbidden[0])} is not allowed in a read`);
}

/**
 * A read for the embedded engine: read-only, with its settings in its own SETTINGS clause, so that nothing of it
 * stays with the session.
 *
 * @throws TypeError when the text is not a plain read
 */
export function readStatement(
  sql: string,
  parameters: Readonly<Record<string, unknown>> | undefined,
  settings: Readonly<Record<string, unknown>>,
): string {
  assertRead(sql);
  const clause = settingList({ readonly: 1, ...settings }).map((setting) => setting.sql);
  return `${bindParameters(sql, parameters)}\nSETTINGS ${clause.join(', ')}`;
}

/** One Native block on its way into a table. */
export interface NativeInsert {
  table: string;
  /** Columns that are the same in every row and so not in the file: the scope's ids. */
  constants: Readonly<Record<string, string>>;
  /** Columns in the file, in its order. */
  columns: readonly string[];
  /** The file's types as ClickHouse writes them: `timestamp Int64, body String, …`. */
  structure: string;
  /** Absolute path of a file that holds exactly one Native block. */
  file: string;
  /** The same token for the same block: a repeated insert leaves no second copy. */
  deduplicationToken: string;
}

/**
 * The block arrives as one block, so that a repetition has the same parts and is recognised, by the tables' views
 * too. Batching is done before; the server's own would hide what an insert came to.
 */
export const INSERT_SETTINGS = {
  async_insert: 0,
  deduplicate_blocks_in_dependent_materialized_views: 1,
  insert_deduplicate: 1,
  // The first merge writes a part's skip indexes. At insert they would cost as much again as the rows themselves, for at
  // most nine parts of a day that no merge has taken yet (docs/decisions/indexes.md).
  materialize_skip_indexes_on_insert: 0,
  max_insert_threads: 1,
  max_threads: 1,
  min_insert_block_size_bytes: 0,
  min_insert_block_size_rows: 16_777_216,
} as const;

/** Reads and writes go to the first replica of a shard that answers, so that a read finds what was written before it. */
const CLUSTER_ROUTE = {
  load_balancing: 'in_order',
  prefer_localhost_replica: 0,
  // A replica that was away and is this far behind (s) is asked only when there is no better one.
  max_replica_delay_for_distributed_queries: '10',
} as const;

/** What an answer through Distributed tables needs, whatever the user's profile says: it is whole, or it is an error. */
export const CLUSTER_READS = {
  ...CLUSTER_ROUTE,
  skip_unavailable_shards: 0,
  // A subquery that would see one shard's rows only is refused; those that need all rows say GLOBAL.
  distributed_product_mode: 'deny',
  // Rows that views wrote lie where their source's rows lie, not where their own table's key would put them.
  optimize_skip_unused_shards: 0,
  optimize_distributed_group_by_sharding_key: 0,
} as const;

/** What an insert through a Distributed table needs to be stored when it is answered, and to be repeatable. */
export const CLUSTER_WRITES = {
  ...CLUSTER_READS,
  // Otherwise the rows wait in a directory of the server that was asked, and an answer means nothing.
  distributed_foreground_insert: 1,
  // The rows of INSERT ... SELECT come together on the server that was asked before they are spread: a shard alone would group its own.
  parallel_distributed_insert_select: '0',
  distributed_insert_skip_read_only_replicas: 1,
  distributed_ddl_output_mode: 'throw',
  // Less than the client's patience, so that the server's reason is heard: which server has not answered.
  distributed_ddl_task_timeout: '100',
} as const;

/** `INSERT INTO t (constants, columns) SELECT …, columns FROM <source>`. */
export function nativeInsertSql(insert: NativeInsert, source: string): string {
  const columns = insert.columns.map(quoteName);
  const targets = [...Object.keys(insert.constants).map(quoteName), ...columns];
  const values = [...Object.values(insert.constants).map(quoteString), ...columns];
  return `INSERT INTO ${quoteName(insert.table)} (${targets.join(', ')}) SELECT ${values.join(', ')} FROM ${source}`;
}
