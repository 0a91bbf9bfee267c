import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { loadConfig } from '../../src/config.js';
import { type ClickHouse, openClickHouse } from '../../src/connections/clickhouse.js';
import { migrationsFolder, readMigrations } from '../../src/connections/migration-files.js';
import type { Scope } from '../../src/edge/scope.js';
import { clusterStatements } from '../../src/sql/cluster-statements.js';
import { splitStatements } from '../../src/sql/sql-text.js';
import { ClickHouseHttp } from './clickhouse-http.js';
import { CLUSTER, spreadOverShards } from './cluster-engine.js';

export const TENANT_A: Scope = { organizationId: 'org', workspaceId: 'ws', tenantId: 'a' };
export const TENANT_B: Scope = { organizationId: 'org', workspaceId: 'ws', tenantId: 'b' };

export type Table = 'telemetry_traces' | 'telemetry_logs' | 'telemetry_metrics';

/** SQL of a column's value, by column name. */
export type SqlRow = Record<string, string>;

/** The embedded engine with the telemetry tables, empty, for tests of questions. One per process. */
export class TelemetryStore {
  private constructor(
    readonly clickhouse: ClickHouse,
    private readonly directory: string,
    private readonly server?: ClickHouseHttp,
  ) {}

  /** @param env settings, as CLICKHOUSE_URL for a server, or limits of questions */
  static async open(env: Record<string, string> = {}): Promise<TelemetryStore> {
    if (process.env.TEST_ON_SHARDS === '1' && env.CLICKHOUSE_URL === undefined)
      return TelemetryStore.openOnShards(env);
    const directory = mkdtempSync(join(tmpdir(), 'telemetryflow-store-'));
    const clickhouse = await openClickHouse(loadConfig({ DATA_DIR: directory, ...env }));
    await clickhouse.ensureDatabase();
    for (const { sql } of await readMigrations(join(migrationsFolder(), 'clickhouse'))) {
      for (const statement of splitStatements(sql)) await clickhouse.command(statement);
    }
    return new TelemetryStore(clickhouse, directory);
  }

  /** The same, whose tables are a cluster's and spread over two shards (`TEST_ON_SHARDS=1`, docs/decisions/cluster.md). */
  static async openOnShards(env: Record<string, string> = {}): Promise<TelemetryStore> {
    const directory = mkdtempSync(join(tmpdir(), 'telemetryflow-store-'));
    const server = await ClickHouseHttp.start(join(directory, 'server'), true);
    const cluster = { CLICKHOUSE_URL: server.url, CLICKHOUSE_CLUSTER: CLUSTER };
    const clickhouse = await openClickHouse(loadConfig({ DATA_DIR: directory, ...cluster, ...env }));
    await clickhouse.ensureDatabase();
    for (const { sql } of await readMigrations(join(migrationsFolder(), 'clickhouse'))) {
      const statements = splitStatements(sql).flatMap((one) => clusterStatements(one, clickhouse.cluster!));
      for (const statement of statements) await clickhouse.command(statement);
    }
    await spreadOverShards(clickhouse);
    return new TelemetryStore(clickhouse, directory, server);
  }

  /** The table that rows are put into. */
  private written(table: Table): string {
    return this.server ? `${table}_local` : table;
  }

  /** Rows whose columns are SQL expressions; columns that are left out get their defaults. */
  async insert(table: Table, scope: Scope, rows: SqlRow[]): Promise<void> {
    const columns = [...new Set(rows.flatMap((row) => Object.keys(row)))];
    const names = ['organization_id', 'workspace_id', 'tenant_id', ...columns].map((name) => `\`${name}\``);
    const constants = [scope.organizationId, scope.workspaceId, scope.tenantId].map((id) => `'${id}'`);
    const selects = rows.map((row) => {
      const values = columns.map((column) => row[column] ?? missing(table, column));
      return `SELECT ${[...constants, ...values].join(', ')}`;
    });
    await this.clickhouse.command(
      `INSERT INTO ${this.written(table)} (${names.join(', ')}) ${selects.join(' UNION ALL ')}`,
    );
  }

  /** Rows made by one SELECT. */
  async insertSelect(table: Table, columns: string, select: string): Promise<void> {
    await this.clickhouse.command(`INSERT INTO ${this.written(table)} (${columns}) ${select}`);
  }

  async close(): Promise<void> {
    await this.clickhouse.close();
    await this.server?.stop();
    rmSync(this.directory, { recursive: true, force: true });
  }
}

function missing(table: Table, column: string): never {
  throw new Error(`Every row of an insert into ${table} needs ${column}`);
}

/** SQL of a point in time. */
export const at = (unixNano: bigint) => `fromUnixTimestamp64Nano(toInt64(${unixNano}))`;
/** SQL of an id. */
export const id = (hex: string) => `unhex('${hex}')`;
/** SQL of a text. */
export const str = (text: string) =>
  `'${text.replace(/\\/g, '\\\\').replace(/'/g, "\\'").replaceAll('\0', '\\0')}'`;
/** SQL of an attribute map; its types are all `s` unless given. As pairs, where the order or a repeated key matters. */
export function attributes(map: Record<string, string> | [string, string][], types?: string): SqlRow {
  const pairs = Array.isArray(map) ? map : Object.entries(map);
  const entries = pairs.flatMap(([key, value]) => [str(key), str(value)]);
  return {
    attributes: `CAST(map(${entries.join(', ')}), 'Map(String, String)')`,
    attribute_types: str(types ?? 's'.repeat(entries.length / 2)),
  };
}
