import { mkdirSync, rmSync, writeFileSync } from 'node:fs';
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
