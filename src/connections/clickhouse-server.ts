import { open } from 'node:fs/promises';
import { ClickHouseLogLevel, createClient, drainStream } from '@clickhouse/client';
import type { ClickHouseDriver, ClickHouseStats } from './clickhouse.js';
import {
  CLUSTER_READS,
  CLUSTER_WRITES,
  INSERT_SETTINGS,
  type NativeInsert,
  nativeInsertSql,
  quoteName,
  quoteString,
  settingList,
} from './clickhouse-statement.js';

export interface ServerOptions {
  url: string;
  username: string;
  password: string;
  database: string;
  /** Name of the server's cluster that the tables are on. */
  cluster?: string;
}

const READ_CONNECTIONS = 10;
const WRITE_CONNECTIONS = 5;
/** A connection that says nothing for so long is given up; inserts are repeated with the same token. */
const REQUEST_TIMEOUT_MS = 120_000;

/** A ClickHouse server or cluster over HTTP. Reads and writes have connections of their own. */
export class ServerDriver implements ClickHouseDriver {
  readonly client;
  private readonly writes;

  constructor(private readonly options: ServerOptions) {
    const { cluster, ...connection } = options;
    const shared = {
      ...connection,
      application: 'telemetryflow',
      // What fails is thrown, and logged once where it is handled.
      log: { level: ClickHouseLogLevel.OFF },
      request_timeout: REQUEST_TIMEOUT_MS,
      keep_alive: { enabled: true, eagerly_destroy_stale_sockets: true },
    };
    this.client = createClient({
      ...shared,
      max_open_connections: READ_CONNECTIONS,
      // The answer starts when the query is done, so that an error has a status and no half answer before it; a
      // client that has gone takes its query with it.
      clickhouse_settings: {
        wait_end_of_query: 1,
        readonly: '1',
        cancel_http_readonly_queries_on_client_close: 1,
        ...(cluster === undefined ? {} : CLUSTER_READS),
      },
    });
    this.writes = createClient({
      ...shared,
      max_open_connections: WRITE_CONNECTIONS,
      clickhouse_settings: cluster === undefined ? {} : CLUSTER_WRITES,
    });
  }

  /** Without a database in its URL, for it may not exist yet. */
  async ensureDatabase(): Promise<void> {
    const { database, cluster, ...withoutDatabase } = this.options;
    const client = createClient({ ...withoutDatabase, log: { level: ClickHouseLogLevel.OFF } });
    try {
      const onCluster = cluster === undefined ? '' : ` ON CLUSTER ${quoteString(cluster)}`;
      await client.command({ query: `CREATE DATABASE IF NOT EXISTS ${quoteName(database)}${onCluster}` });
    } finally {
      await client.close();
    }
  }

  async command(sql: string): Promise<void> {
    await this.writes.command({ query: sql, clickhouse_settings: { wait_end_of_query: 1 } });
  }

  async insertNative(insert: NativeInsert): Promise<void> {
    const settings = { ...INSERT_SETTINGS, insert_deduplication_token: insert.deduplicationToken };
    const clause = settingList(settings).map((setting) => setting.sql);
    const query =
      `${nativeInsertSql(insert, `input(${quoteString(insert.structure)})`)} ` +
      `SETTINGS ${clause.join(', ')} FORMAT Native`;
    // Opened first, so that a missing file is told as such and not as a request cut off half-way.
    const file = await open(insert.file);
    try {
      const result = await this.writes.exec({
        query,
        values: file.createReadStream({ autoClose: false, highWaterMark: 1024 * 1024 }),
        clickhouse_settings: { wait_end_of_query: 1 },
      });
      await drainStream(result.stream);
    } finally {
      await file.close();
    }
  }

  async insertValues(sql: string): Promise<void> {
    await this.command(sql);
  }

  stats(): ClickHouseStats {
    return { driver: 'server' };
  }

  async close(): Promise<void> {
    await Promise.all([this.client.close(), this.writes.close()]);
  }
}
