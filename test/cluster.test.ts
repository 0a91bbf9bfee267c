import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { type Config, loadConfig } from '../src/config.js';
import { type ClickHouse, openClickHouse } from '../src/connections/clickhouse.js';
import { nativeBlock } from '../src/connections/clickhouse-insert.suite.js';
import { migrate } from '../src/connections/migrations.js';
import { openPostgres, type Postgres } from '../src/connections/postgres.js';
import { readServiceMap } from '../src/store/service-map.js';
import { ClickHouseHttp } from './support/clickhouse-http.js';
import { CLUSTER } from './support/cluster-engine.js';
import { at, attributes, id, str, TENANT_A, TelemetryStore } from './support/telemetry-store.js';

const NOW_NS = 1_750_000_000_000_000_000n;
const ONE = { output_format_json_quote_64bit_integers: 0 } as const;

/** One engine that is a cluster of one server, without replication: test/support/cluster-engine.ts. */
describe('The store on a cluster', () => {
  const directory = mkdtempSync(join(tmpdir(), 'telemetryflow-cluster-'));
  let server: ClickHouseHttp;
  let config: Config;
  let postgres: Postgres;
  let clickhouse: ClickHouse;
  const rows = async (query: string) => (await clickhouse.read(query, {}, { settings: ONE })).rows;

  before(async () => {
    server = await ClickHouseHttp.start(join(directory, 'server'), true);
    const env = { DATA_DIR: directory, CLICKHOUSE_URL: server.url, CLICKHOUSE_CLUSTER: CLUSTER };
    config = loadConfig(env);
    postgres = await openPostgres(config);
    clickhouse = await openClickHouse(config);
    await migrate(postgres, clickhouse);
  });
  after(async () => {
    await clickhouse.close();
    await postgres.close();
    await server.stop();
    rmSync(directory, { recursive: true, force: true });
  });

  it('has a distributed table over each local one, and views between local ones', async () => {
    const tables = (await rows(
      "SELECT name, engine FROM system.tables WHERE database = currentDatabase() AND name != 'schema_migrations' ORDER BY name",
    )) as { name: string; engine: string }[];
    const local = tables.filter(({ name }) => name.endsWith('_local'));
    assert.ok(local.length >= 10);
    for (const { name, engine } of local) {
      assert.match(engine, /MergeTree$/, name);
      const distributed = tables.find((table) => `${table.name}_local` === name);
      assert.equal(distributed?.engine, 'Distributed', name);
    }
    const views = tables.length - 2 * local.length;
    assert.equal(tables.filter(({ engine }) => engine === 'MaterializedView').length, views);
    assert.ok(views >= 5);
    const columns = await rows(`SELECT name FROM system.columns AS c
      WHERE database = currentDatabase() AND table LIKE '%\\_local' AND (replaceOne(table, '_local', ''), name, type) NOT IN
        (SELECT table, name, type FROM system.columns WHERE database = currentDatabase())`);
    assert.deepEqual(columns, [], 'columns that only the local table has');
  });

  it('takes an insert once that is sent again, in its table and in those of the views', async () => {
    const file = join(directory, 'block.native');
    writeFileSync(file, nativeBlock([Number(NOW_NS / 1_000_000_000n)], ['x']));
    const source = { columns: ['n', 's'], structure: 'n UInt64, s String' };
    await clickhouse.command('ALTER TABLE telemetry_logs_local ADD COLUMN n UInt64, ADD COLUMN s String');
    await clickhouse.command('ALTER TABLE telemetry_logs ADD COLUMN n UInt64, ADD COLUMN s String');
    const ids = { organization_id: 'o', workspace_id: 'w', tenant_id: 'once', service_name: 'shop' };
    for (let time = 0; time < 3; time++) {
      await clickhouse.insertNative({
        ...source,
        table: 'telemetry_logs',
        constants: ids,
        file,
        deduplicationToken: 'a',
      });
    }
    const of = (columns: string, table: string) =>
      rows(`SELECT ${columns} AS n FROM ${table} WHERE tenant_id = 'once'`);
    assert.deepEqual(await of('count()', 'telemetry_logs'), [{ n: 1 }]);
    assert.deepEqual(await of('sum(log_count)', 'mv_service_list'), [{ n: 1 }]);
  });

  it('has an insert on disk when it is answered, not in a queue of the server', async () => {
    const now = Math.floor(Date.now() / 1000);
    const day = new Date(now * 1000).toISOString().slice(0, 10).replaceAll('-', '');
    const values = `('o', 'w', 'there', 'logs', ${now}, 'stored', '', 'token', 5)`;
    await clickhouse.insertValues(
      `INSERT INTO ledger (organization_id, workspace_id, tenant_id, signal, minute, outcome, reason, token, items) VALUES ${values}`,
    );
    assert.deepEqual(await rows("SELECT items FROM ledger_local WHERE tenant_id = 'there'"), [{ items: 5 }]);
    assert.deepEqual(await rows("SELECT items FROM ledger FINAL WHERE tenant_id = 'there'"), [{ items: 5 }]);
    await clickhouse.command(`ALTER TABLE ${clickhouse.onCluster('ledger')} DROP PARTITION ID '${day}'`);
    assert.deepEqual(await rows("SELECT items FROM ledger WHERE tenant_id = 'there'"), []);
  });

  it('is set up once: a second start runs no DDL, which would wait for servers that are away', async () => {
    const statements: string[] = [];
    const watched = new Proxy(clickhouse, {
      get(target, name) {
        const value = Reflect.get(target, name, target) as unknown;
        if (typeof value !== 'function') return value;
        return (...parameters: unknown[]) => {
          if (name === 'command' || name === 'ensureDatabase') statements.push(String(parameters[0]));
          return Reflect.apply(value, target, parameters) as unknown;
        };
      },
    });
    await migrate(postgres, watched);
    assert.deepEqual(statements, []);
  });

  it('is not taken for the tables of a single server, nor those for it', async () => {
    const single = await openClickHouse({ ...config, CLICKHOUSE_CLUSTER: undefined });
    await assert.rejects(migrate(postgres, single), /were made for a cluster: set CLICKHOUSE_CLUSTER/);
    await single.close();
    const other = { ...config, CLICKHOUSE_DATABASE: 'single' };
    const plain = await openClickHouse({ ...other, CLICKHOUSE_CLUSTER: undefined });
    await migrate(postgres, plain);
    await plain.close();
    const late = await openClickHouse(other);
    await assert.rejects(migrate(postgres, late), /were made without CLICKHOUSE_CLUSTER/);
    await late.close();
  });
});

describe('Questions to two shards', () => {
  let store: TelemetryStore;
  before(async () => {
    store = await TelemetryStore.openOnShards();
  });
  after(() => store.close());

  it('find what answers a call on another shard: a consumer is linked to traces that are not its own', async () => {
    const span = (trace: number, span: number, row: Record<string, string>) => ({
      timestamp: at(NOW_NS),
      trace_id: id(String(trace).padStart(32, '0')),
      span_id: id(String(span).padStart(16, '0')),
      parent_span_id: `toFixedString('', 8)`,
      span_name: str('op'),
      duration_nano: '1000000',
      ...attributes({ 'messaging.system': 'kafka', 'messaging.destination.name': 'orders' }),
      ...row,
    });
    const none = {
      'links.trace_id': `CAST([], 'Array(FixedString(16))')`,
      'links.span_id': `CAST([], 'Array(FixedString(8))')`,
    };
    const traces = Array.from({ length: 16 }, (_, nth) => nth + 1);
    const links = {
      'links.trace_id': `CAST([${traces.map((trace) => id(String(trace).padStart(32, '0')))}], 'Array(FixedString(16))')`,
      'links.span_id': `CAST([${traces.map((trace) => id(String(trace).padStart(16, '0')))}], 'Array(FixedString(8))')`,
    };
    await store.insert('telemetry_traces', TENANT_A, [
      ...traces.map((trace) =>
        span(trace, trace, { service_name: str('shop'), span_kind: str('PRODUCER'), ...none }),
      ),
      span(99, 99, { service_name: str('worker'), span_kind: str('CONSUMER'), ...links }),
    ]);
    const shards = await store.clickhouse.read(
      'SELECT shardNum() AS shard FROM telemetry_traces GROUP BY shard',
    );
    assert.equal(shards.rows.length, 2, 'the spans lie on both');
    const range = { fromNs: NOW_NS - 60_000_000_000n, toNs: NOW_NS + 60_000_000_000n };
    const { edges } = await readServiceMap(TENANT_A, store.clickhouse, range);
    assert.deepEqual(
      edges.map(({ source, target, calls }) => ({ source, target, calls })),
      [{ source: 'shop', target: 'worker', calls: 16 }],
    );
  });

  it('are refused where a shard would answer from its own rows alone', async () => {
    const question =
      'SELECT count() FROM telemetry_logs WHERE trace_id IN (SELECT trace_id FROM telemetry_traces)';
    await assert.rejects(store.clickhouse.read(question), /Double-distributed IN\/JOIN subqueries is denied/);
  });
});
