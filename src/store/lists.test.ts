import assert from 'node:assert/strict';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { Random } from '../../test/support/seed.js';
import { TENANT_A, TENANT_B, TelemetryStore } from '../../test/support/telemetry-store.js';
import { migrationsFolder, readMigrations } from '../connections/migration-files.js';
import type { Scope } from '../edge/scope.js';
import type { TimeRange } from '../http/time.js';
import { listMetricNames } from '../series/metric-names.js';
import { splitStatements } from '../sql/sql-text.js';
import { listServices } from './services.js';
import { readTrace } from './trace.js';
import { nanosToIso } from './values.js';

const SECOND = 1_000_000_000n;
const DAY = 86_400n * SECOND;
const T0 = 1_767_225_600n * SECOND; // 2026-01-01T00:00:00Z
const PAGE = { page: 1, limit: 1000 };
const ROUNDS = 12;

let store: TelemetryStore;
const random = Random.announced('lists');

/** Items of three days, dense around some five minutes so that ranges begin and end amid them. */
function fill(
  table: 'telemetry_metrics' | 'telemetry_traces' | 'telemetry_logs',
  rows: number,
  seed: number,
) {
  const h = (salt: number) => `cityHash64(number, ${seed}, ${salt})`;
  const time = `toInt64(${T0}) + toInt64(${h(1)} % 3) * 86400000000000 + toInt64(${h(2)} % 9) * 1500000000000 + toInt64(${h(3)} % 400) * 1000000000`;
  const columns: Record<string, string> = {
    organization_id: `'org'`,
    workspace_id: `'ws'`,
    tenant_id: `if(${h(4)} % 5 = 0, 'b', 'a')`,
    timestamp: `fromUnixTimestamp64Nano(${time})`,
    service_name: `concat('service-', toString(${h(5)} % 6))`,
  };
  if (table === 'telemetry_traces') {
    columns.status_code = `if(${h(6)} % 4 = 0, 'ERROR', 'OK')`;
    columns.trace_id = `reinterpretAsFixedString(sipHash128(${h(7)} % 50))`;
    columns.span_id = `reinterpretAsFixedString(sipHash64(number, ${seed}))`;
  }
  if (table === 'telemetry_metrics') {
    columns.metric_name = `concat('metric.', toString(${h(6)} % 7))`;
    columns.metric_type = `if(${h(7)} % 2 = 0, 'gauge', 'sum')`;
    columns.unit = `if(${h(8)} % 9 = 0, 's', '')`;
  }
  const select = `SELECT ${Object.values(columns).join(', ')} FROM numbers(${rows})`;
  return store.insertSelect(table, Object.keys(columns).join(', '), select);
}

async function ask<Row>(sql: string, scope: Scope, range: TimeRange): Promise<Row[]> {
  const within = `tenant_id = '${scope.tenantId}' AND timestamp >= fromUnixTimestamp64Nano(toInt64(${range.fromNs}))
    AND timestamp < fromUnixTimestamp64Nano(toInt64(${range.toNs}))`;
  return (await store.clickhouse.read<Row>(sql.replaceAll('WITHIN', within))).rows;
}

/** The same from the items themselves. */
async function rawServices(scope: Scope, range: TimeRange): Promise<unknown[]> {
  const rows = await ask<Record<string, string>>(
    `SELECT service_name, toString(reinterpretAsUInt64(max(timestamp))) AS seen, countIf(kind = 1) AS points,
      uniqExactIf(name, kind = 1) AS names, countIf(kind = 2) AS spans, countIf(kind = 3) AS logs, countIf(failed) AS errors
    FROM (
      SELECT service_name, timestamp, 1 AS kind, toString(metric_name) AS name, false AS failed FROM telemetry_metrics WHERE WITHIN
      UNION ALL SELECT service_name, timestamp, 2, '', status_code = 'ERROR' FROM telemetry_traces WHERE WITHIN
      UNION ALL SELECT service_name, timestamp, 3, '', false FROM telemetry_logs WHERE WITHIN
    ) GROUP BY service_name ORDER BY service_name`,
    scope,
    range,
  );
  return rows.map((row) => ({
    service_name: row.service_name,
    last_seen: nanosToIso(row.seen),
    metric_count: Number(row.points),
    unique_metrics: Number(row.names),
    span_count: Number(row.spans),
    log_count: Number(row.logs),
    error_count: Number(row.errors),
    error_rate: row.spans === '0' ? 0 : Number(row.errors) / Number(row.spans),
  }));
}

async function rawNames(scope: Scope, range: TimeRange): Promise<unknown[]> {
  const rows = await ask<Record<string, string>>(
    `SELECT service_name, metric_name, metric_type, unit, toString(reinterpretAsUInt64(max(timestamp))) AS seen
    FROM telemetry_metrics WHERE WITHIN GROUP BY service_name, metric_name, metric_type, unit
    ORDER BY metric_name, service_name, toString(metric_type), unit`,
    scope,
    range,
  );
  return rows.map(({ seen, ...name }) => ({ ...name, last_seen: nanosToIso(seen) }));
}

/** A begin or end: anywhere, at a step's edge, at an item's time, or right after it. */
function somewhere(): bigint {
  const anywhere = T0 + BigInt(random.below(3 * 86_400)) * SECOND + BigInt(random.below(2)) * 500_000_000n;
  switch (random.below(4)) {
    case 0:
      return anywhere;
    case 1:
      return anywhere - (anywhere % (300n * SECOND));
    case 2:
      return anywhere - (anywhere % (3600n * SECOND));
    default: {
      const near = BigInt(random.below(3)) * DAY + BigInt(random.below(9)) * 1500n * SECOND;
      return T0 + near + BigInt(random.below(400)) * SECOND + BigInt(random.below(2));
    }
  }
}

async function assertListsAreRaw(what: string): Promise<void> {
  const whole = { fromNs: T0 - DAY, toNs: T0 + 9n * DAY };
  for (let round = 0; round < ROUNDS; round++) {
    const [one, other] = [somewhere(), somewhere()];
    const [fromNs, toNs] = one < other ? [one, other] : [other, one];
    const range = round === 0 ? whole : { fromNs, toNs };
    const scope = random.pick([TENANT_A, TENANT_B]);
    const label = `${what}: ${scope.tenantId} from ${range.fromNs} to ${range.toNs}`;
    const services = await listServices(scope, store.clickhouse, range, PAGE);
    assert.deepEqual(services.data, await rawServices(scope, range), label);
    const question = { services: [], prefix: '' };
    const names = await listMetricNames(scope, store.clickhouse, question, range, PAGE);
    assert.deepEqual(names.data, await rawNames(scope, range), label);
  }
}

async function traceSpans(id: string): Promise<number> {
  return (await readTrace(TENANT_A, store.clickhouse, id, { fromNs: T0 - DAY, toNs: T0 + 9n * DAY }))
    .span_count;
}

describe('Lists and the places of traces', () => {
  before(async () => {
    store = await TelemetryStore.open();
    for (let seed = 0; seed < 3; seed++) {
      await fill('telemetry_metrics', 400, seed);
      await fill('telemetry_traces', 300, seed);
      await fill('telemetry_logs', 300, seed);
    }
  });
  after(() => store.close());

  it('say what the items say, wherever a range begins and ends', async () => {
    await assertListsAreRaw('as inserted');
    for (const list of ['mv_service_list', 'mv_metric_list', 'trace_steps']) {
      await store.clickhouse.command(`OPTIMIZE TABLE ${list} FINAL`);
    }
    await assertListsAreRaw('merged');
  });

  it('find every span of a trace over days, and none of another tenant', async () => {
    const { rows } = await store.clickhouse.read<{ id: string; spans: string }>(
      `SELECT lower(hex(trace_id)) AS id, countIf(tenant_id = 'a') AS spans FROM telemetry_traces GROUP BY id ORDER BY spans LIMIT 12`,
    );
    for (const { id, spans } of rows) {
      if (spans === '0') await assert.rejects(traceSpans(id), { code: 'NOT_FOUND' });
      else assert.equal(await traceSpans(id), Number(spans));
    }
    await assert.rejects(traceSpans('ab'.repeat(16)), { code: 'NOT_FOUND' });
  });

  it('read a trace by its steps, whatever else the days hold', async () => {
    const id = 'cd'.repeat(16);
    await store.insert('telemetry_traces', TENANT_A, [
      {
        timestamp: `fromUnixTimestamp64Nano(toInt64(${T0}))`,
        trace_id: `unhex('${id}')`,
        service_name: `'one'`,
      },
    ]);
    const { rows } = await store.clickhouse.read<{ explain: string }>(
      `EXPLAIN indexes = 1 SELECT step FROM trace_steps
      WHERE tenant_key = cityHash64('org', 'ws', 'a') AND trace_id = toFixedString(unhex('${id}'), 16)`,
    );
    assert.match(rows.map(({ explain }) => explain).join('\n'), /Keys:\s+tenant_key\s+trace_id/);
    assert.equal(await traceSpans(id), 1);
  });

  it('are filled for rows that were there before them, as often as the migration runs', async () => {
    const migration = (await readMigrations(join(migrationsFolder(), 'clickhouse'))).find(
      ({ version }) => version === 2,
    )!;
    const statements = splitStatements(migration.sql);
    for (const list of ['mv_service_list', 'mv_metric_list', 'trace_steps']) {
      await store.clickhouse.command(`TRUNCATE TABLE ${list}`);
    }
    for (const statement of [...statements, ...statements]) await store.clickhouse.command(statement);
    await assertListsAreRaw('filled by the migration');
    assert.equal(await traceSpans('cd'.repeat(16)), 1);
  });

  it('count an insert once that is sent again', async () => {
    const insert = `INSERT INTO telemetry_traces (organization_id, workspace_id, tenant_id, timestamp, service_name)
      SELECT 'org', 'ws', 'a', fromUnixTimestamp64Nano(toInt64(${T0})), 'again' FROM numbers(10)
      SETTINGS insert_deduplicate = 1, insert_deduplication_token = 'again', deduplicate_blocks_in_dependent_materialized_views = 1`;
    await store.clickhouse.command(insert);
    await store.clickhouse.command(insert);
    await assertListsAreRaw('sent again');
    const range = { fromNs: T0 - DAY, toNs: T0 + DAY };
    const { data } = await listServices(TENANT_A, store.clickhouse, range, PAGE);
    assert.equal(data.find(({ service_name }) => service_name === 'again')?.span_count, 10);
  });
});
