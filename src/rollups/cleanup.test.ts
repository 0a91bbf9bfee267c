import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, beforeEach, describe, it } from 'node:test';
import { pino } from 'pino';
import { Registry } from 'prom-client';
import { loadConfig } from '../config.js';
import { type ClickHouse, openClickHouse } from '../connections/clickhouse.js';
import { migrate } from '../connections/migrations.js';
import { openPostgres, type Postgres } from '../connections/postgres.js';
import type { Scope } from '../edge/scope.js';
import { CANARY_SCOPE } from '../ledger/canary-scope.js';
import { DiskUse } from '../monitoring/disk-use.js';
import { DAY_MS, defaultRetention, Retention } from '../retention.js';
import { TouchedHours } from '../series/touched-hours.js';
import { AGING_TABLES, listPartitions } from './aging-tables.js';
import { type CleanedUp, CleanupWorker, cleanUp, lookWhatGoes } from './cleanup.worker.js';
import { DiskBudget } from './disk-budget.js';
import { Expiry } from './expiry.js';
import { readOverrides, writeRules } from './retention-rows.js';
import { keepTtl } from './table-ttl.js';

const LOG = pino({ level: 'silent' });
const DEFAULTS = defaultRetention(loadConfig({}));
/** Noon of a day: a day that ended `n` days before that midnight is `n + 1` days old. */
const NOW_MS = Math.floor(Date.now() / DAY_MS) * DAY_MS + DAY_MS / 2;
const dayMs = (daysAgo: number) => NOW_MS - DAY_MS / 2 - daysAgo * DAY_MS;
const partitionOf = (daysAgo: number) =>
  new Date(dayMs(daysAgo)).toISOString().slice(0, 10).replaceAll('-', '');

const tenant = (): Scope => ({ organizationId: 'org', workspaceId: 'ws', tenantId: randomUUID() });
const NOTHING: CleanedUp = { deleted: [], rows: 0, partitions: 0, bytes: 0 };

let directory: string;
let clickhouse: ClickHouse;
let postgres: Postgres;
let dropped: string[];
let usual: Scope;
let other: Scope;

const expiry = (store: ClickHouse = clickhouse) =>
  new Expiry(
    store,
    postgres.dataSource,
    { dropTenant: ({ tenantId }, signal) => void dropped.push(`${tenantId} ${signal}`) },
    LOG,
  );
const clean = (store?: ClickHouse, dataType: 'all' | 'metrics' | 'logs' = 'all') =>
  cleanUp(expiry(store), DEFAULTS, { dataType, nowMs: NOW_MS });

/** Rows of one day, spread over its 24 hours. */
async function put(
  table: string,
  { organizationId, workspaceId, tenantId }: Scope,
  daysAgo: number,
  rows: number,
): Promise<void> {
  await clickhouse.command(
    `INSERT INTO ${table} (organization_id, workspace_id, tenant_id, timestamp)
SELECT '${organizationId}', '${workspaceId}', '${tenantId}', toDateTime(${dayMs(daysAgo) / 1000} + (number % 24) * 3600 + 60, 'UTC') FROM numbers(${rows})`,
  );
}

async function rowsOf(table: string, scope: Scope): Promise<Record<string, number>> {
  const { rows } = await clickhouse.read<{ id: string; n: string }>(
    `SELECT _partition_id AS id, count() AS n FROM ${table} WHERE tenant_id = {t:String} GROUP BY id ORDER BY id`,
    { t: scope.tenantId },
  );
  return Object.fromEntries(rows.map(({ id, n }) => [id, Number(n)]));
}

async function expired(scope: Scope): Promise<Record<string, number>> {
  const { rows } = await clickhouse.read<{ signal: string; n: string }>(
    `SELECT signal, sum(items) AS n FROM ledger FINAL WHERE tenant_id = {t:String} AND outcome = 'expired' GROUP BY signal`,
    { t: scope.tenantId },
  );
  return Object.fromEntries(rows.map(({ signal, n }) => [signal, Number(n)]));
}

const setRule = (scope: Scope, dataType: string, days: number | null, max_bytes: number | null = null) =>
  writeRules(postgres.dataSource.manager, scope.tenantId, { [dataType]: { days, max_bytes } });

/** The engine, which fails (as a process that ends does) before or after the first statement like this. */
function failing(pattern: RegExp, when: 'before' | 'after'): ClickHouse {
  let isArmed = true;
  const guard =
    (method: 'command' | 'insertValues') =>
    async (sql: string): Promise<void> => {
      const isHit = isArmed && pattern.test(sql);
      if (isHit) isArmed = false;
      if (isHit && when === 'before') throw new Error('cut off');
      await clickhouse[method](sql);
      if (isHit) throw new Error('cut off');
    };
  return new Proxy(clickhouse, {
    get: (target, name) => {
      if (name === 'command' || name === 'insertValues') return guard(name);
      const value = Reflect.get(target, name, target);
      return typeof value === 'function' ? value.bind(target) : value;
    },
  });
}

describe('Cleaning up', { concurrency: false }, () => {
  before(async () => {
    directory = mkdtempSync(join(tmpdir(), 'telemetryflow-cleanup-'));
    const config = loadConfig({ DATA_DIR: directory });
    [postgres, clickhouse] = await Promise.all([openPostgres(config), openClickHouse(config)]);
    await migrate(postgres, clickhouse);
  });
  after(async () => {
    await clickhouse?.close();
    await postgres?.close();
    rmSync(directory, { recursive: true, force: true });
  });
  beforeEach(async () => {
    for (const { name } of AGING_TABLES) await clickhouse.command(`TRUNCATE TABLE IF EXISTS ${name}`);
    await postgres.dataSource.query('DELETE FROM tenant_retention');
    dropped = [];
    [usual, other] = [tenant(), tenant()];
  });

  it('drops the days that have expired for all, counts them, and leaves the others', async () => {
    for (const daysAgo of [0, 29, 30, 31, 32]) {
      await put('telemetry_logs', usual, daysAgo, 48);
      await put('telemetry_logs', other, daysAgo, 24);
    }
    await put('telemetry_traces', usual, 40, 10);
    const done = await clean();
    // Two days of logs, one of spans; and of lists and of where traces lie the same.
    assert.equal(done.partitions, 7);
    assert.ok(done.bytes > 0);
    assert.deepEqual(
      done.deleted.map(({ tenant_id, data_type, rows }) => [tenant_id, data_type, rows]).sort(),
      [
        [usual.tenantId, 'logs', 96],
        [other.tenantId, 'logs', 48],
        [usual.tenantId, 'traces', 10],
      ].sort(),
    );
    const kept = [30, 29, 0].map((daysAgo) => partitionOf(daysAgo));
    assert.deepEqual(Object.keys(await rowsOf('telemetry_logs', usual)), kept);
    assert.deepEqual(await rowsOf('telemetry_traces', usual), {});
    assert.deepEqual(await expired(usual), { logs: 96, traces: 10 });
    assert.deepEqual(await expired(other), { logs: 48 });
    assert.ok(dropped.includes(`${usual.tenantId} logs`), 'what was cached of it is dropped');
    assert.deepEqual(await clean(), NOTHING);
    assert.deepEqual(await expired(usual), { logs: 96, traces: 10 });
  });

  it('writes down when what has expired was sent, by the hour', async () => {
    await put('telemetry_logs', usual, 35, 48);
    await clean();
    const { rows } = await clickhouse.read<{ minute: string; items: string }>(
      'SELECT toUnixTimestamp(minute) AS minute, items FROM ledger FINAL WHERE tenant_id = {t:String} ORDER BY minute',
      { t: usual.tenantId },
    );
    const hours = Array.from({ length: 24 }, (_, hour) => [dayMs(35) / 1000 + hour * 3600, 2]);
    assert.deepEqual(
      rows.map(({ minute, items }) => [Number(minute), Number(items)]),
      hours,
    );
  });

  it('deletes a tenant with a shorter retention alone, and keeps one with a longer one', async () => {
    const long = tenant();
    await setRule(other, 'logs', 7);
    await setRule(long, 'logs', 90);
    for (const daysAgo of [5, 10, 40]) {
      await put('telemetry_logs', usual, daysAgo, 30);
      await put('telemetry_logs', other, daysAgo, 20);
      await put('telemetry_logs', long, daysAgo, 10);
    }
    const done = await clean();
    assert.equal(done.partitions, 0, 'somebody has rows in each of them');
    const days = (...daysAgo: number[]) => daysAgo.map((n) => partitionOf(n));
    assert.deepEqual(await rowsOf('telemetry_logs', usual), { [days(10)[0]]: 30, [days(5)[0]]: 30 });
    assert.deepEqual(await rowsOf('telemetry_logs', other), { [days(5)[0]]: 20 });
    assert.deepEqual(Object.keys(await rowsOf('telemetry_logs', long)), days(40, 10, 5));
    assert.deepEqual(
      [await expired(usual), await expired(other), await expired(long)],
      [{ logs: 30 }, { logs: 40 }, {}],
    );
    assert.deepEqual(await clean(), NOTHING);
  });

  it('drops a partition whole when only tenants with a shorter retention are in it', async () => {
    await setRule(other, 'metrics', 3);
    await put('telemetry_metrics', other, 10, 50);
    const done = await clean();
    assert.deepEqual([done.partitions, done.rows], [1, 50]);
    assert.deepEqual(await expired(other), { metrics: 50 });
  });

  it('of the type that is asked for alone', async () => {
    await put('telemetry_logs', usual, 40, 5);
    await put('telemetry_metrics', usual, 40, 5);
    assert.equal((await clean(undefined, 'metrics')).rows, 5);
    assert.deepEqual(await expired(usual), { metrics: 5 });
  });

  it('tells the rollups of points that go while older ones stay, and rolls nothing up anew from what is left', async () => {
    await setRule(other, 'metrics', 7);
    for (const scope of [other, usual]) {
      const hours = Array.from({ length: 24 }, (_, hour) => dayMs(10) + hour * 3_600_000);
      await new TouchedHours(clickhouse).note(scope, hours);
      await put('telemetry_metrics', scope, 10, 50);
    }
    await clean();
    const { rows } = await clickhouse.read<{ t: string; n: string }>(
      'SELECT tenant_id AS t, count() AS n FROM rollup_hours FINAL WHERE dropped = 1 GROUP BY t',
    );
    assert.deepEqual(
      rows.map(({ t }) => t),
      [other.tenantId],
    );
  });

  it('rollups go by month, later than points; canary items with the logs, and into no ledger', async () => {
    await put('metrics_hourly', usual, 60, 5);
    await put('metrics_hourly', usual, 440, 5);
    await put('metrics_daily', usual, 440, 5);
    await put('telemetry_logs', CANARY_SCOPE, 40, 5);
    const done = await clean();
    assert.deepEqual(done.deleted.map(({ data_type }) => data_type).sort(), ['logs', 'metrics_hourly']);
    assert.equal(Object.keys(await rowsOf('metrics_hourly', usual)).length, 1);
    assert.deepEqual([await expired(usual), await expired(CANARY_SCOPE)], [{}, {}]);
  });

  it('a dry run counts the same and deletes nothing', async () => {
    await setRule(other, 'logs', 7);
    for (const daysAgo of [10, 40])
      for (const scope of [usual, other]) await put('telemetry_logs', scope, daysAgo, 30);
    const look = await lookWhatGoes(expiry(), DEFAULTS, { dataType: 'all', nowMs: NOW_MS });
    // One of logs, one of the list of services.
    assert.deepEqual([look.rows, look.partitions], [90, 2]);
    assert.equal(Object.keys(await rowsOf('telemetry_logs', other)).length, 2);
    assert.deepEqual([await expired(usual), dropped], [{}, []]);
    const done = await clean();
    assert.deepEqual(sorted(done), sorted(look));
  });

  const sorted = ({ deleted, ...rest }: CleanedUp) => ({
    ...rest,
    deleted: [...deleted].sort((a, b) => a.tenant_id.localeCompare(b.tenant_id)),
  });

  for (const [step, pattern] of [
    ['the ledger', /INTO ledger/],
    ['the drop of a partition', /DROP PARTITION/],
    ['the deletion of rows', /DELETE IN PARTITION/],
  ] as const) {
    for (const when of ['before', 'after'] as const) {
      it(`cut off ${when} ${step}, the next run goes on: nothing is lost from the count, and nothing counted twice`, async () => {
        await setRule(other, 'logs', 7);
        await put('telemetry_logs', usual, 40, 30);
        await put('telemetry_logs', usual, 10, 30);
        await put('telemetry_logs', other, 10, 20);
        await assert.rejects(clean(failing(pattern, when)), /cut off/);
        const done = await clean();
        assert.ok(done.rows >= 20, 'what was cut off is told by the run that carries it out');
        assert.deepEqual([await expired(usual), await expired(other)], [{ logs: 30 }, { logs: 20 }]);
        assert.deepEqual(await rowsOf('telemetry_logs', usual), { [partitionOf(10)]: 30 });
        assert.deepEqual(await rowsOf('telemetry_logs', other), {});
        assert.deepEqual(await clean(), NOTHING);
        assert.deepEqual(await expired(usual), { logs: 30 });
      });
    }
  }

  it('rows that come late for a day that was deleted already are counted besides', async () => {
    await put('telemetry_logs', usual, 40, 30);
    await clean();
    await put('telemetry_logs', usual, 40, 7);
    await clean();
    assert.deepEqual(await expired(usual), { logs: 37 });
  });

  it('gives the tables a TTL that is days longer, at once when it grows and after the cleanup when it shrinks', async () => {
    const ttl = async (table: string) => {
      const { rows } = await clickhouse.read<{ days: string }>(
        `SELECT extract(engine_full, 'toIntervalDay\\\\((\\\\d+)\\\\)') AS days FROM system.tables WHERE database = currentDatabase() AND name = {table:String}`,
        { table },
      );
      return Number(rows[0].days);
    };
    await keepTtl(clickhouse, new Retention(DEFAULTS), 'raise', LOG);
    assert.deepEqual([await ttl('telemetry_logs'), await ttl('metrics_hourly')], [60, 457]);
    await setRule(other, 'logs', 100);
    const retention = new Retention(DEFAULTS, (await readOverrides(postgres.dataSource)).days);
    await keepTtl(clickhouse, retention, 'raise', LOG);
    assert.equal(await ttl('telemetry_logs'), 130);
    await keepTtl(clickhouse, new Retention(DEFAULTS), 'raise', LOG);
    assert.equal(await ttl('telemetry_logs'), 130, 'it does not shrink before what is too old was counted');
    await postgres.dataSource.query('DELETE FROM tenant_retention');
    await put('telemetry_logs', usual, 50, 5);
    const worker = new CleanupWorker(expiry(), DEFAULTS, true);
    assert.equal((await worker.run({ dataType: 'all', nowMs: NOW_MS })).rows, 5);
    assert.equal(await ttl('telemetry_logs'), 60);
  });

  describe('A budget', () => {
    const budget = (limitBytes?: number) => {
      const use = new DiskUse(new Registry());
      const folder =
        limitBytes === undefined ? undefined : { directory: join(directory, 'nothing'), limitBytes };
      return { use, check: () => new DiskBudget(expiry(), folder, use).check(NOW_MS) };
    };
    const fill = async () => {
      for (const daysAgo of [3, 1, 2, 0]) {
        await put('telemetry_logs', usual, daysAgo, 2400);
        await put('telemetry_traces', usual, daysAgo, 2400);
      }
      await put('metrics_daily', usual, 400, 10);
      const partitions = await listPartitions(clickhouse);
      return partitions.reduce((sum, { bytes }) => sum + bytes, 0);
    };

    it('of the folder: warns from 90 % on and drops nothing', async () => {
      const bytes = await fill();
      const { use, check } = budget(Math.floor(bytes / 0.95));
      await check();
      assert.match(use.health()!.degraded!, /9[45] % of DISK_LIMIT/);
      assert.deepEqual(await expired(usual), {});
      const roomy = budget(bytes * 2);
      await roomy.check();
      assert.equal(roomy.use.health()!.degraded, undefined);
      assert.equal(budget().use.health(), undefined);
    });

    it('of the folder: at it the oldest days go first, counted; never today, and rollups last', async () => {
      const bytes = await fill();
      const { check } = budget(bytes);
      await check();
      const days = Object.keys(await rowsOf('telemetry_logs', usual)).length;
      const traceDays = Object.keys(await rowsOf('telemetry_traces', usual)).length;
      assert.deepEqual([days, traceDays].sort(), [3, 4], 'one day of one signal is enough');
      assert.equal((await expired(usual)).logs ?? (await expired(usual)).traces, 2400);
      const { rows } = await clickhouse.read<{ reason: string }>(
        'SELECT DISTINCT reason FROM ledger WHERE tenant_id = {t:String}',
        { t: usual.tenantId },
      );
      assert.deepEqual(rows, [{ reason: 'disk_limit' }]);
      assert.equal(Object.keys(await rowsOf('metrics_daily', usual)).length, 1);
      await budget(1).check();
      assert.deepEqual(Object.keys(await rowsOf('telemetry_logs', usual)), [partitionOf(0)]);
      assert.deepEqual(await rowsOf('metrics_daily', usual), {});
    });

    it('of a tenant: its own oldest days go, and nobody else’s', async () => {
      await fill();
      for (const daysAgo of [3, 2, 1, 0]) await put('telemetry_logs', other, daysAgo, 2400);
      const logs = (await listPartitions(clickhouse)).filter(({ table }) => table.name === 'telemetry_logs');
      const own = logs.reduce((sum, { bytes }) => sum + bytes / 2, 0);
      await setRule(other, 'logs', null, Math.floor(own * 0.7));
      await budget().check();
      assert.deepEqual(Object.keys(await rowsOf('telemetry_logs', other)), [1, 0].map(partitionOf));
      assert.equal(Object.keys(await rowsOf('telemetry_logs', usual)).length, 4);
      assert.deepEqual([await expired(other), await expired(usual)], [{ logs: 4800 }, {}]);
    });
  });
});
