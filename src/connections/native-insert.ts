import { quoteName, quoteString } from './clickhouse-statement.js';

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
  max_insert_threads: 1,
  max_threads: 1,
  min_insert_block_size_bytes: 0,
  min_insert_block_size_rows: 16_777_216,
} as const;

/** `INSERT INTO t (constants, columns) SELECT …, columns FROM <source>`. */
export function nativeInsertSql(insert: NativeInsert, source: string): string {
  const columns = insert.columns.map(quoteName);
  const targets = [...Object.keys(insert.constants).map(quoteName), ...columns];
  const values = [...Object.values(insert.constants).map(quoteString), ...columns];
  return `INSERT INTO ${quoteName(insert.table)} (${targets.join(', ')}) SELECT ${values.join(', ')} FROM ${source}`;
}
