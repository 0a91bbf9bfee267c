import {
  appendFileSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';

const MIB = 1024 * 1024;

/** What the embedded engine may use; the rest of MEMORY_LIMIT is for Node and PGlite. */
export interface EngineBudget {
  /** All of the engine's allocations: queries, inserts, merges and caches together. */
  maxEngineBytes: number;
  /** One read. */
  maxReadBytes: number;
}

/** Splits MEMORY_LIMIT: 65 % for the engine, of that at most half for a single read. */
export function engineBudget(memoryLimitBytes: number): EngineBudget {
  const maxEngineBytes = Math.floor(memoryLimitBytes * 0.65);
  return { maxEngineBytes, maxReadBytes: Math.floor(maxEngineBytes / 2) };
}

/**
 * The engine's server settings. Its own defaults are those of a dedicated machine: 0.9 of the memory, caches of up
 * to 5 GiB each, pools of hundreds of threads.
 */
function serverSettings(directory: string, budget: EngineBudget): Record<string, string | number> {
  const cache = (share: number, maxMib: number) =>
    Math.min(maxMib * MIB, Math.floor(budget.maxEngineBytes * share));
  return {
    max_server_memory_usage: budget.maxEngineBytes,
    merges_mutations_memory_usage_soft_limit: Math.floor(budget.maxEngineBytes / 2),
    mark_cache_size: cache(0.05, 256),
    index_mark_cache_size: cache(0.02, 128),
    primary_index_cache_size: cache(0.05, 256),
    query_condition_cache_size: cache(0.02, 64),
    text_index_tokens_cache_size: cache(0.02, 64),
    text_index_header_cache_size: cache(0.02, 64),
    text_index_postings_cache_size: cache(0.04, 128),
    vector_similarity_index_cache_size: MIB,
    unique_key_index_cache_size_bytes: MIB,
    iceberg_metadata_files_cache_size: MIB,
    parquet_metadata_cache_size: MIB,
    compiled_expression_cache_size: 16 * MIB,
    mmap_cache_size: 64,
    memory_worker_period_ms: 1000,
    max_thread_pool_size: 256,
    max_thread_pool_free_size: 8,
    max_io_thread_pool_size: 16,
    max_io_thread_pool_free_size: 0,
    max_active_parts_loading_thread_pool_size: 4,
    max_outdated_parts_loading_thread_pool_size: 2,
    max_parts_cleaning_thread_pool_size: 2,
    max_format_parsing_thread_pool_size: 8,
    max_prefixes_deserialization_thread_pool_size: 4,
    max_prefixes_deserialization_thread_pool_free_size: 0,
    background_schedule_pool_initial_size: 2,
    // Merges wait for nobody, and inserts and questions are waited for (docs/decisions/storage.md).
    os_threads_nice_value_merge_mutate: 10,
    tmp_path: `${join(directory, 'tmp')}/`,
    user_files_path: `${join(directory, 'user_files')}/`,
    format_schema_path: `${join(directory, 'format_schemas')}/`,
  };
}

const escapeXml = (text: string) => text.replace(/[<>&"']/g, (character) => `&#${character.charCodeAt(0)};`);

/**
 * Writes the engine's configuration into `directory` and returns the arguments that make a session use it. The
 * first session of the process decides; later ones share its engine.
 */
export function writeEngineConfig(directory: string, budget: EngineBudget): string[] {
  const tmp = join(directory, 'tmp');
  // A killed process leaves what its queries had spilled.
  rmSync(tmp, { recursive: true, force: true });
  mkdirSync(tmp, { recursive: true });
  const settings = Object.entries(serverSettings(directory, budget))
    .map(([name, value]) => `  <${name}>${escapeXml(String(value))}</${name}>`)
    .join('\n');
  const file = join(directory, 'config.xml');
  writeFileSync(file, `<clickhouse>\n${settings}\n</clickhouse>\n`);
  return [`--config-file=${file}`];
}

const LOG_NAME = /^deduplication_log_(\d+)\.txt$/;
/** A part's directory: partition, first and last block, level, mutation. */
const PART_NAME = /^([^_]+)_(\d+)_(\d+)_\d+(?:_\d+)?$/;
const ADDED = '1';
const DROPPED = '2';

/**
 * Makes the tables forget blocks that count as inserted and are not. To be called before the engine opens `directory`.
 *
 * The engine writes a block into a table's deduplication log before it renames the block's part into place (as of 26.7).
 * A kill in between leaves the block in the log without its part: repeated, the insert would pass for a copy, and what was
 * acknowledged would be lost. One lock is held over both, so nothing else can have covered the missing part.
 *
 * @returns names of the missing parts
 */
export function forgetMissingParts(directory: string): string[] {
  return tableDirectories(directory).flatMap((table) => {
    const logs = join(table, 'deduplication_logs');
    const names = list(logs).filter((name) => LOG_NAME.test(name));
    names.sort((a, b) => Number(LOG_NAME.exec(a)![1]) - Number(LOG_NAME.exec(b)![1]));
    const blocks = new Map<string, string>();
    for (const name of names) readLog(join(logs, name), blocks);
    const parts = list(table);
    const missing = [...blocks].filter(([, part]) => !parts.some((other) => covers(other, part)));
    const lines = missing.map(([block, part]) => `${DROPPED}\t${part}\t${block}\n`);
    if (lines.length > 0)
      appendFileSync(join(logs, names[names.length - 1]), lines.join(''), { flush: true });
    return missing.map(([, part]) => part);
  });
}

/** Of every table: `store/<3 digits>/<uuid>`. */
function tableDirectories(directory: string): string[] {
  const store = join(directory, 'store');
  return list(store).flatMap((prefix) => list(join(store, prefix)).map((name) => join(store, prefix, name)));
}

function list(directory: string): string[] {
  try {
    return readdirSync(directory);
  } catch {
    return [];
  }
}

/** Follows a log into `blocks`: id -> part. A torn last line is cut off, or the engine would add to it. */
function readLog(path: string, blocks: Map<string, string>): void {
  const text = readFileSync(path, 'latin1');
  const whole = text.lastIndexOf('\n') + 1;
  if (whole < text.length) truncateSync(path, whole);
  for (const line of text.slice(0, whole).split('\n')) {
    const [operation, part, block] = line.split('\t');
    if (operation === ADDED) blocks.set(block, part);
    else if (operation === DROPPED) blocks.delete(block);
  }
}

/** Whether the part `name` is `other` or was merged into it. */
function covers(other: string, name: string): boolean {
  const outer = PART_NAME.exec(other);
  const inner = PART_NAME.exec(name);
  if (!outer || !inner || outer[1] !== inner[1]) return false;
  return Number(outer[2]) <= Number(inner[2]) && Number(inner[3]) <= Number(outer[3]);
}
