import { randomUUID } from 'node:crypto';
import { mkdirSync } from 'node:fs';
import { rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import {
  type ClickHouseClientConfigOptions,
  ClickHouseLogLevel,
  createClient,
  parseError,
} from '@clickhouse/client';
import type { Session } from 'chdb';
import type { Config } from '../config.js';
import { StartupError } from '../errors.js';
import type { ClickHouseDriver, ClickHouseStats } from './clickhouse.js';
import {
  bindParameters,
  INSERT_SETTINGS,
  type NativeInsert,
  nativeInsertSql,
  quoteName,
  quoteString,
  readStatement,
  settingList,
} from './clickhouse-statement.js';
import { engineBudget, forgetMissingParts, writeEngineConfig } from './engine-config.js';
import { SessionPool } from './session-pool.js';

type Connection = NonNullable<ClickHouseClientConfigOptions['connection']>;
type QueryParameters = Parameters<Connection['query']>[0];
type InsertParameters = Parameters<Connection['insert']>[0];

type EngineSettings = Pick<Config, 'DATA_DIR' | 'CLICKHOUSE_DATABASE' | 'MEMORY_LIMIT' | 'threadPoolSize'>;

/** One insert of each signal can run at once. */
const INSERT_SESSIONS = 3;
const MAX_READ_SESSIONS = 4;
/** libuv threads that stay free for files, zlib and DNS whatever the engine is doing. */
const OTHER_THREADS = 4;
const KILL_AGAIN_MS = 100;

/**
 * Reads that may run at once. A statement holds a libuv thread while it runs, and Node has four of them unless
 * UV_THREADPOOL_SIZE was set before the first use: reads must not take those that inserts and the journal need.
 */
export function readSessions(threadPoolSize: number): number {
  return Math.max(1, Math.min(MAX_READ_SESSIONS, threadPoolSize - INSERT_SESSIONS - OTHER_THREADS));
}

async function loadChdb(): Promise<typeof import('chdb')> {
  try {
    return await import('chdb');
  } catch (error) {
    throw new StartupError(
      `The embedded ClickHouse engine cannot be loaded: ${(error as Error).message}\n` +
        'It comes with the optional package chdb (Linux with glibc, macOS). Install it, or set CLICKHOUSE_URL.',
    );
  }
}

const responseHead = (queryId: string) => ({
  query_id: queryId,
  response_headers: {},
  http_status_code: 200,
});

/** The engine in this process, behind the official client's connection contract. */
export class EmbeddedDriver implements ClickHouseDriver {
  readonly client;
  private readonly reads: SessionPool;
  private readonly inserts: SessionPool;
  /** DDL, and whatever else client.command() is given. */
  private readonly admin: SessionPool;
  /** Pings and KILL QUERY: it must answer while everything else is busy. It also keeps the engine loaded. */
  private readonly control: SessionPool;

  /** Reads in the engine, by the id that KILL QUERY knows them by. */
  private readonly running = new Map<string, Promise<unknown>>();

  private constructor(
    private readonly chdb: typeof import('chdb'),
    dataDirectory: string,
    private readonly scratchDirectory: string,
    database: string,
    connectionArgs: string[],
    private readonly maxReadBytes: number,
    maxReads: number,
  ) {
    const bare = () => new chdb.Session(dataDirectory, { connectionArgs });
    const open = () => {
      const session = bare();
      session.query(`USE ${quoteName(database)}`);
      return session;
    };
    const first = bare();
    first.query(`CREATE DATABASE IF NOT EXISTS ${quoteName(database)}`);
    this.control = new SessionPool(open, 1);
    this.reads = new SessionPool(open, maxReads);
    this.inserts = new SessionPool(open, INSERT_SESSIONS);
    this.admin = new SessionPool(open, 1);
    this.anchor = first;
    this.client = createClient({ connection: this.connection(), log: { level: ClickHouseLogLevel.OFF } });
  }

  /** Held from first to last: the engine shuts down with its last session. */
  private readonly anchor: Session;

  /**
   * Loads the engine and opens its data below DATA_DIR.
   *
   * @throws StartupError when the engine is not installed or its data cannot be opened
   */
  static async open(config: EngineSettings): Promise<EmbeddedDriver> {
    const chdb = await loadChdb();
    const budget = engineBudget(config.MEMORY_LIMIT);
    const scratch = join(config.DATA_DIR, 'engine');
    const data = join(config.DATA_DIR, 'clickhouse');
    mkdirSync(data, { recursive: true });
    forgetMissingParts(data);
    const connectionArgs = writeEngineConfig(scratch, budget);
    const reads = readSessions(config.threadPoolSize);
    try {
      return new EmbeddedDriver(
        chdb,
        data,
        scratch,
        config.CLICKHOUSE_DATABASE,
        connectionArgs,
        budget.maxReadBytes,
        reads,
      );
    } catch (error) {
      throw new StartupError(
        `The embedded ClickHouse engine cannot open ${data}: ${(error as Error).message}`,
      );
    }
  }

  async ensureDatabase(): Promise<void> {
    // The constructor made it: a session needs a database to start in.
  }

  async command(sql: string): Promise<void> {
    await this.admin.run((session) => this.statement(session, sql));
  }

  async insertNative(insert: NativeInsert): Promise<void> {
    const source = `file(${quoteString(insert.file)}, Native, ${quoteString(insert.structure)})`;
    const settings = { ...INSERT_SETTINGS, insert_deduplication_token: insert.deduplicationToken };
    const clause = settingList(settings).map((setting) => setting.sql);
    await this.inserts.run((session) =>
      this.statement(session, `${nativeInsertSql(insert, source)} SETTINGS ${clause.join(', ')}`),
    );
  }

  async insertValues(sql: string): Promise<void> {
    await this.inserts.run((session) => this.statement(session, sql));
  }

  stats(): ClickHouseStats {
    return {
      driver: 'embedded',
      reads: this.reads.stats(),
      inserts: this.inserts.stats(),
      admin: this.admin.stats(),
    };
  }

  /** Reads are ended, inserts and commands let finish. */
  async close(): Promise<void> {
    for (const [queryId, running] of this.running) void this.kill(queryId, running);
    await Promise.all([this.reads.close(), this.inserts.close(), this.admin.close()]);
    await this.control.close();
    this.anchor.close();
    await this.chdb.drainPending();
  }

  private async statement(session: Session, sql: string, format?: string) {
    try {
      return await session.queryAsync(sql, format === undefined ? {} : { format });
    } catch (error) {
      throw parseError(error as Error);
    }
  }

  private async read(parameters: QueryParameters, queryId: string): Promise<Uint8Array> {
    const settings = parameters.clickhouse_settings;
    const wantedBytes = Number(settings?.max_memory_usage ?? this.maxReadBytes);
    const sql = readStatement(parameters.query, parameters.query_params, {
      ...settings,
      max_memory_usage: Math.min(wantedBytes, this.maxReadBytes),
      log_comment: queryId,
    });
    const run = async (session: Session) => {
      const running = this.statement(session, sql);
      this.running.set(queryId, running);
      return running.finally(() => this.running.delete(queryId));
    };
    const result = await this.reads.run(run, {
      signal: parameters.abort_signal,
      stop: (running) => void this.kill(queryId, running),
    });
    return result.bytes();
  }

  /** Tries until the statement has ended: right after its start the engine does not list it yet. */
  private async kill(queryId: string, running: Promise<unknown>): Promise<void> {
    let ended = false;
    const over = running.then(
      () => undefined,
      () => undefined,
    );
    void over.then(() => {
      ended = true;
    });
    const sql = `KILL QUERY WHERE Settings['log_comment'] = ${quoteString(queryId)}`;
    while (!ended) {
      // A refused KILL is no news to anyone: the caller has its answer, and max_execution_time ends the statement.
      await this.control.run((session) => this.statement(session, sql)).catch(() => undefined);
      await Promise.race([over, new Promise((resolve) => setTimeout(resolve, KILL_AGAIN_MS).unref())]);
    }
  }

  /** Runs a statement that takes no SETTINGS clause: they are set for it alone, and the session put back. */
  private withSettings(pool: SessionPool, sql: string, parameters: QueryParameters) {
    const bound = bindParameters(sql, parameters.query_params);
    const settings = settingList(parameters.clickhouse_settings ?? {});
    return pool.run(
      async (session) => {
        for (const setting of settings) await this.statement(session, `SET ${setting.sql}`);
        const result = await this.statement(session, bound);
        for (const setting of settings) await this.statement(session, `SET ${setting.name} = DEFAULT`);
        return result;
      },
      { signal: parameters.abort_signal },
    );
  }

  /** client.insert(): the rows go through a file, since the engine takes them from no stream. */
  private async insertStream(parameters: InsertParameters): Promise<void> {
    const file = join(this.scratchDirectory, 'tmp', `insert-${randomUUID()}`);
    try {
      await writeFile(file, parameters.values);
      const sql = parameters.query.replace(
        /\bFORMAT\s+\w+\s*$/i,
        (format) => `FROM INFILE ${quoteString(file)} ${format}`,
      );
      await this.withSettings(this.inserts, sql, parameters);
    } finally {
      await rm(file, { force: true });
    }
  }

  private connection(): Connection {
    const idOf = (parameters: { query_id?: string }) => parameters.query_id ?? randomUUID();
    return {
      query: async (parameters) => {
        const id = idOf(parameters);
        const bytes = await this.read(parameters, id);
        return { stream: Readable.from([Buffer.from(bytes)], { objectMode: false }), ...responseHead(id) };
      },
      command: async (parameters) => {
        await this.withSettings(this.admin, parameters.query, parameters);
        return responseHead(idOf(parameters));
      },
      exec: async (parameters) => {
        if (parameters.values !== undefined)
          throw new TypeError('exec() with values needs a ClickHouse server');
        const result = await this.withSettings(this.admin, parameters.query, parameters);
        return { stream: Readable.from([Buffer.from(result.bytes())]), ...responseHead(idOf(parameters)) };
      },
      insert: async (parameters) => {
        await this.insertStream(parameters);
        return responseHead(idOf(parameters));
      },
      ping: async (parameters) => {
        const options = { signal: parameters.abort_signal };
        try {
          await this.control.run((session) => this.statement(session, 'SELECT 1'), options);
          return { success: true };
        } catch (error) {
          return { success: false, error: error as Error };
        }
      },
      close: () => this.close(),
    };
  }
}
