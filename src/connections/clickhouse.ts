import type { ClickHouseClient, ClickHouseSettings, ResponseJSON } from '@clickhouse/client';
import type { Config } from '../config.js';
import type { Scope } from '../edge/scope.js';
import { TenantTurns } from '../edge/tenant-turns.js';
import { type ClusterPlace, onCluster } from '../sql/cluster-statements.js';
import { assertRead, type NativeInsert, quoteName } from './clickhouse-statement.js';
import { engineBudget } from './engine-config.js';
import type { PoolStats } from './session-pool.js';

export interface ReadOptions {
  /** Ends the query in the engine, not only the waiting for it. */
  signal?: AbortSignal;
  /** Longer queries fail with TIMEOUT_EXCEEDED; default 30. */
  maxExecutionSeconds?: number;
  /** For this query alone. `max_memory_usage`, `max_result_rows` and the like are enforced. */
  settings?: ClickHouseSettings;
}

export interface QueryResult<T> {
  rows: T[];
  rowsRead: number;
  bytesRead: number;
  /** The engine's own time, without waiting for a session and without transport. */
  elapsedMs: number;
}

/** Sessions of the embedded engine by use; a server has none. */
export interface ClickHouseStats {
  driver: 'embedded' | 'server';
  reads?: PoolStats;
  inserts?: PoolStats;
  admin?: PoolStats;
}

export interface Health {
  status: 'up' | 'down';
  detail?: string;
}

/** What the embedded engine and a server do differently. */
export interface ClickHouseDriver {
  /** The official client, for reads. */
  readonly client: ClickHouseClient;
  ensureDatabase(): Promise<void>;
  command(sql: string): Promise<void>;
  insertNative(insert: NativeInsert): Promise<void>;
  insertValues(sql: string): Promise<void>;
  stats(): ClickHouseStats;
  close(): Promise<void>;
}

/** What one question of a tenant may take. */
export interface QuestionLimits {
  maxSeconds: number;
  maxMemoryBytes: number;
  maxRows: number;
  /** Statements of one tenant at once. */
  maxAtOnce: number;
}

const DEFAULT_EXECUTION_SECONDS = 30;
const DEFAULT_LIMITS: QuestionLimits = {
  maxSeconds: DEFAULT_EXECUTION_SECONDS,
  maxMemoryBytes: 1024 ** 3,
  maxRows: 1e9,
  maxAtOnce: 2,
};
/** An answer is held in memory whole; more than this fails with TOO_MANY_ROWS_OR_BYTES. */
const MAX_RESULT_BYTES = 64 * 1024 * 1024;
const PING_TIMEOUT_MS = 5_000;

/** The telemetry store, embedded or on a server: the same promises either way. */
export class ClickHouse {
  private readonly turns: TenantTurns;

  constructor(
    private readonly driver: ClickHouseDriver,
    readonly database: string,
    readonly limits: QuestionLimits = DEFAULT_LIMITS,
    /** Where the tables are spread over several servers. */
    readonly cluster?: ClusterPlace,
  ) {
    this.turns = new TenantTurns(limits.maxAtOnce);
  }

  /** The official client, for what read() does not offer. It only reads: writes go through this class. */
  get client(): ClickHouseClient {
    return this.driver.client;
  }

  /**
   * Runs one SELECT (or WITH, SHOW, DESCRIBE, EXPLAIN) without FORMAT and SETTINGS clauses and returns its rows as
   * objects. It never waits behind inserts, and it cannot write, run DDL or reach files and networks.
   *
   * 64-bit integers come as strings unless `settings` says `output_format_json_quote_64bit_integers: 0`.
   *
   * @param query values only as `{name:Type}`, given in `parameters`
   * @throws TypeError when the text is not a read, or a parameter is missing
   * @throws ClickHouseError with ClickHouse's code; isTooExpensive() tells those that a limit caused
   */
  async read<T>(
    query: string,
    parameters?: Record<string, unknown>,
    options: ReadOptions = {},
  ): Promise<QueryResult<T>> {
    assertRead(query);
    options.signal?.throwIfAborted();
    const result = await this.driver.client.query({
      query,
      query_params: parameters,
      format: 'JSON',
      abort_signal: options.signal,
      clickhouse_settings: {
        max_execution_time: options.maxExecutionSeconds ?? DEFAULT_EXECUTION_SECONDS,
        max_result_bytes: String(MAX_RESULT_BYTES),
        output_format_json_quote_64bit_integers: 1,
        ...options.settings,
      },
    });
    const { data, statistics } = (await result.json()) as ResponseJSON<T>;
    return {
      rows: data,
      rowsRead: statistics?.rows_read ?? 0,
      bytesRead: statistics?.bytes_read ?? 0,
      elapsedMs: (statistics?.elapsed ?? 0) * 1000,
    };
  }

  /**
   * `read` for a tenant: when it is its turn, and within the limits of questions, which `options` can only narrow. Groups and
   * sorting that need half of the memory go on disk.
   *
   * @throws as `read` does; AppError RATE_LIMITED when too many questions of the tenant wait
   */
  async readFor<T>(
    scope: Scope,
    query: string,
    parameters: Record<string, unknown>,
    options: ReadOptions = {},
  ): Promise<QueryResult<T>> {
    const { maxSeconds, maxMemoryBytes, maxRows } = this.limits;
    const spillBytes = String(Math.floor(maxMemoryBytes / 2));
    const limited = {
      ...options,
      maxExecutionSeconds: Math.min(options.maxExecutionSeconds ?? maxSeconds, maxSeconds),
      settings: {
        max_bytes_before_external_group_by: spillBytes,
        max_bytes_before_external_sort: spillBytes,
        ...options.settings,
        max_memory_usage: String(maxMemoryBytes),
        max_rows_to_read: String(Math.min(Number(options.settings?.max_rows_to_read ?? maxRows), maxRows)),
      },
    };
    const work = () => this.read<T>(query, parameters, limited);
    return this.turns.run(scope.tenantId, work, options.signal);
  }

  /**
   * How a statement names `table` that changes its rows, parts or structure (ALTER, DELETE, OPTIMIZE, TRUNCATE): on a cluster it is to
   * reach the table that holds the rows, on every server. SELECT and INSERT use the plain name.
   */
  onCluster(table: string): string {
    return this.cluster ? onCluster(table, this.cluster) : quoteName(table);
  }

  /** Runs one statement that answers nothing, such as DDL. */
  command(sql: string): Promise<void> {
    return this.driver.command(sql);
  }

  /**
   * Inserts one Native block. The same token again is no second copy. It never waits behind reads.
   *
   * @throws isRetryable() tells whether the same insert may succeed later or the data is at fault
   */
  insertNative(insert: NativeInsert): Promise<void> {
    return this.driver.insertNative(insert);
  }

  /**
   * Runs one `INSERT … VALUES` of a few rows. It waits behind inserts alone, never behind reads, DDL or whatever `command` runs.
   *
   * @throws isRetryable() tells whether the same insert may succeed later or the data is at fault
   */
  insertValues(sql: string): Promise<void> {
    return this.driver.insertValues(sql);
  }

  /** Creates the database if it is missing. */
  ensureDatabase(): Promise<void> {
    return this.driver.ensureDatabase();
  }

  /** Whether a SELECT is answered, with these credentials, within 5 s. */
  async health(): Promise<Health> {
    const answer = await this.driver.client.ping({
      select: true,
      abort_signal: AbortSignal.timeout(PING_TIMEOUT_MS),
    });
    return answer.success
      ? { status: 'up' }
      : { status: 'down', detail: answer.error.message || String(answer.error) };
  }

  async ping(): Promise<boolean> {
    return (await this.health()).status === 'up';
  }

  stats(): ClickHouseStats {
    return this.driver.stats();
  }

  /** Ends running reads, lets inserts and commands finish, then closes. */
  close(): Promise<void> {
    return this.driver.close();
  }
}

/**
 * Connects to the server that CLICKHOUSE_URL names, or loads the embedded engine when it is unset. A server need not
 * be up yet.
 *
 * @throws StartupError when the embedded engine cannot be loaded or cannot open its data
 */
export async function openClickHouse(config: Config): Promise<ClickHouse> {
  const database = config.CLICKHOUSE_DATABASE;
  const isEmbedded = config.CLICKHOUSE_URL === undefined;
  const { maxReadBytes } = engineBudget(config.MEMORY_LIMIT);
  const limits = {
    maxSeconds: config.QUERY_MAX_SECONDS,
    maxMemoryBytes: Math.min(config.QUERY_MAX_MEMORY, isEmbedded ? maxReadBytes : Infinity),
    maxRows: config.QUERY_MAX_ROWS,
    maxAtOnce: config.QUERY_MAX_AT_ONCE,
  };
  if (isEmbedded) {
    const { EmbeddedDriver } = await import('./clickhouse-embedded.js');
    return new ClickHouse(await EmbeddedDriver.open(config), database, limits);
  }
  const { ServerDriver } = await import('./clickhouse-server.js');
  const driver = new ServerDriver({
    url: config.CLICKHOUSE_URL!,
    username: config.CLICKHOUSE_USER,
    password: config.CLICKHOUSE_PASSWORD,
    database,
    cluster: config.CLICKHOUSE_CLUSTER,
  });
  const place = config.CLICKHOUSE_CLUSTER && { cluster: config.CLICKHOUSE_CLUSTER, database };
  return new ClickHouse(driver, database, limits, place || undefined);
}
