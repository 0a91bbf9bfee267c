import assert from 'node:assert/strict';
import { after, before, beforeEach, describe, it } from 'node:test';
import { pino } from 'pino';
import { letNotesAge, storePoints, T0_MS } from '../../test/support/metric-series.js';
import { TENANT_A, TENANT_B, TelemetryStore } from '../../test/support/telemetry-store.js';
import type { Scope } from '../edge/scope.js';
import { queryMetric } from '../series/metric-series.js';
import { recordDropped } from '../series/rollup-hours.js';
import { DAY_MS, HOUR_MS } from '../series/rollup-plan.js';
import { AggregationWorker, aggregate } from './aggregation.worker.js';

const LOG = pino({ level: 'silent' });
const MINUTE_MS = 60_000;
/** The notes of inserts are by the real clock, months after these points: nothing is too late unless a test says so. */
const SETTINGS = { ROLLUP_LATE_HOURS: 87_600, RETENTION_METRICS_DAYS: 3650 };

let store: TelemetryStore;
let tenants = 0;
let scope: Scope;

const text = (ms: number) => new Date(ms).toISOString().replace('T', ' ').replace('Z', '');
const point = (atMs: number, metric: string, value: number) => ({
  timestamp: text(atMs),
  start_timestamp: text(T0_MS - DAY_MS),
  service_name: 'shop',
  metric_name: metric,
  metric_type: metric === 'requests' ? 'sum' : 'gauge',
  aggregation_temporality: metric === 'requests' ? 'CUMULATIVE' : 'UNSPECIFIED',
  is_monotonic: metric === 'requests',
  value,
  value_type: 'int',
});
/** A gauge that is always 1 and a counter that grows by 1, every ten minutes of the hours. */
const hoursOfPoints = (from: number, to: number) =>
  Array.from({ length: (to - from) * 6 }, (_, n) => from * 6 + n).flatMap((n) => [
    point(T0_MS + n * 10 * MINUTE_MS, 'load', 1),
    point(T0_MS + n * 10 * MINUTE_MS, 'requests', n),
  ]);

const put = async (rows: object[], into = scope) => {
  await storePoints(store, into, rows);
  await letNotesAge(store);
};
const run = (step: 'hourly' | 'daily', hour: number, settings = SETTINGS) =>
  aggregate(step, store.clickhouse, settings, LOG, { nowMs: T0_MS + hour * HOUR_MS });

async function ask(metric: string, agg: 'sum' | 'increase', from: number, to: number, step = 1, of = scope) {
  const range = {
    fromNs: BigInt(T0_MS + from * HOUR_MS) * 1_000_000n,
    toNs: BigInt(T0_MS + to * HOUR_MS) * 1_000_000n,
  };
  const question = { metric, agg, services: [], stepMs: step * HOUR_MS, groupBy: [], filters: [] };
  const { series, source, meta } = await queryMetric(of, store.clickhouse, question, range);
  const { partial, partial_reason: reason } = meta;
  return {
    source,
    partial,
    ...(reason ? { reason } : {}),
    values: (series[0]?.points ?? []).map(([, value]) => value),
  };
}

const rowsOf = async (table: string) => {
  const { rows } = await store.clickhouse.read(
    `SELECT * EXCEPT version FROM ${table} FINAL WHERE tenant_id = {t:String} ORDER BY ALL`,
    { t: scope.tenantId },
  );
  return rows;
};

describe('Rolling metrics up', () => {
  before(async () => {
    store = await TelemetryStore.open();
  });
  after(() => store.close());
  beforeEach(() => {
    scope = { ...TENANT_A, tenantId: `tenant-${tenants++}` };
  });

  it('takes the hours that have ended, and days when they have, and counts what it wrote', async () => {
    await put(hoursOfPoints(0, 25));
    // The 24th hour ended a minute ago: its last points may not be there yet.
    assert.deepEqual(await run('hourly', 24 + 1 / 60), { rows: 46, hours: 23, days: 0 });
    assert.deepEqual((await ask('load', 'sum', 0, 24)).values, new Array(24).fill(6));
    assert.deepEqual(await run('daily', 24.5), { rows: 2 + 2, hours: 1, days: 1 });
    assert.deepEqual(await ask('load', 'sum', 0, 24, 24), {
      source: 'metrics_daily',
      partial: undefined,
      values: [144],
    });
    assert.deepEqual((await ask('load', 'sum', 0, 25)).values, new Array(25).fill(6));
  });

  it('twice changes nothing', async () => {
    await put(hoursOfPoints(0, 30));
    await run('daily', 40);
    const [hourly, daily] = [await rowsOf('metrics_hourly'), await rowsOf('metrics_daily')];
    assert.deepEqual(await run('daily', 40), { rows: 0, hours: 0, days: 0 });
    // As after a crash that lost what was noted.
    await store.clickhouse.command(
      `INSERT INTO rollup_hours (organization_id, workspace_id, tenant_id, hour, touched_at)
SELECT organization_id, workspace_id, tenant_id, hour, now64(3) FROM rollup_hours WHERE tenant_id = '${scope.tenantId}'`,
    );
    await letNotesAge(store);
    assert.equal((await run('daily', 40)).hours, 31);
    assert.deepEqual(await rowsOf('metrics_hourly'), hourly);
    assert.deepEqual(await rowsOf('metrics_daily'), daily);
  });

  it('catches up what was missed', async () => {
    await put(hoursOfPoints(0, 3));
    await run('hourly', 3.5);
    await put(hoursOfPoints(3, 60));
    assert.equal((await run('hourly', 61.5)).hours, 58);
    assert.equal((await ask('load', 'sum', 0, 60)).source, 'metrics_hourly');
  });

  it('corrects the hour that late points belong to, and a counter in the hour after; until then they are read as points', async () => {
    await put(hoursOfPoints(0, 10).filter((_, n) => n < 2 * 29 || n >= 2 * 30));
    await run('daily', 40);
    assert.deepEqual((await ask('requests', 'increase', 4, 7)).values, [5, 7, 6]);
    await put([
      point(T0_MS + 4 * HOUR_MS + 59 * MINUTE_MS, 'requests', 29),
      point(T0_MS + 4 * HOUR_MS, 'load', 5),
    ]);
    const late = { load: [10, 6, 6], requests: [6, 6, 6] };
    const answers = async () => [
      (await ask('load', 'sum', 4, 7)).values,
      (await ask('requests', 'increase', 4, 7)).values,
    ];
    assert.deepEqual(await answers(), [late.load, late.requests]);
    assert.equal((await run('hourly', 40)).hours, 2);
    assert.deepEqual(await answers(), [late.load, late.requests]);
    assert.equal((await ask('requests', 'increase', 4, 7)).source, 'metrics_hourly');
    // The day is not as its hours are any more, until it is made anew.
    assert.deepEqual((await ask('load', 'sum', 0, 24, 24)).values, [64]);
    assert.equal((await run('daily', 40)).days, 1);
    const day = await ask('load', 'sum', 0, 24, 24);
    assert.deepEqual([day.source, day.values], ['metrics_daily', [64]]);
  });

  it('leaves what comes later than the setting to the night', async () => {
    const settings = { ...SETTINGS, ROLLUP_LATE_HOURS: 24 };
    await put(hoursOfPoints(0, 3));
    await run('hourly', 10, settings);
    await put([point(T0_MS, 'load', 5)]);
    assert.equal((await run('hourly', 10, settings)).hours, 0);
    assert.deepEqual((await ask('load', 'sum', 0, 3)).values, [11, 6, 6]);
    assert.equal((await run('daily', 40, settings)).hours, 2);
    const answer = await ask('load', 'sum', 0, 3);
    assert.deepEqual([answer.source, answer.values], ['metrics_hourly', [11, 6, 6]]);
  });

  it('that is cut off goes on the next time', async () => {
    await put([...hoursOfPoints(0, 2), ...hoursOfPoints(30, 32)]);
    const cut = new AbortController();
    const progress = { nowMs: T0_MS + 40 * HOUR_MS, signal: cut.signal };
    cut.abort(new Error('stopping'));
    await assert.rejects(aggregate('hourly', store.clickhouse, SETTINGS, LOG, progress), /stopping/);
    assert.deepEqual((await ask('load', 'sum', 0, 32)).values, [6, 6, 6, 6]);
    assert.equal((await run('hourly', 40)).rows, 8);
    assert.deepEqual((await ask('load', 'sum', 0, 32)).values, [6, 6, 6, 6]);
  });

  it('keeps tenants apart', async () => {
    const other = { ...TENANT_B, tenantId: `${scope.tenantId}-b` };
    await put(hoursOfPoints(0, 2));
    await put([point(T0_MS, 'load', 1000)], other);
    await run('daily', 40);
    assert.deepEqual((await ask('load', 'sum', 0, 2)).values, [6, 6]);
    assert.deepEqual((await ask('load', 'sum', 0, 2, 1, other)).values, [1000]);
    const nobody = { ...other, workspaceId: 'elsewhere' };
    assert.deepEqual((await ask('load', 'sum', 0, 2, 1, nobody)).values, []);
  });

  it('outlives the points: what rollups know is answered, what they do not is said to be partial', async () => {
    await put(hoursOfPoints(0, 30));
    await run('daily', 40);
    await recordDropped(store.clickhouse, scope, 'raw', T0_MS + DAY_MS);
    await store.clickhouse.command(
      `ALTER TABLE telemetry_metrics DELETE WHERE tenant_id = '${scope.tenantId}' AND timestamp < '2026-01-02' SETTINGS mutations_sync = 2`,
    );
    const whole = await ask('load', 'sum', 0, 30);
    assert.deepEqual(whole, {
      source: 'metrics_hourly',
      partial: undefined,
      values: new Array(30).fill(6),
    });
    const ragged = await ask('load', 'sum', 0.5, 30);
    assert.deepEqual([ragged.partial, ragged.values.length], [true, 29]);
    const short = await ask('load', 'sum', 20, 30, 1 / 6);
    assert.match(String(short.reason), /whole hours/);
    assert.deepEqual([short.source, short.partial, short.values.length], ['raw', true, 36]);
    const before = await ask('load', 'sum', -5.5, -2);
    assert.deepEqual(before, { source: 'raw', partial: undefined, values: [] });
    // A straggler neither replaces the hour that it belongs to, nor makes it look whole.
    await put([point(T0_MS, 'load', 5)]);
    assert.equal((await run('daily', 40)).hours, 0);
    const late = await ask('load', 'sum', 0, 3);
    assert.deepEqual([late.partial, late.values], [true, [6, 6, 6]]);
  });

  it('outlives its hours by days', async () => {
    await put(hoursOfPoints(0, 30));
    await run('daily', 40);
    await recordDropped(store.clickhouse, scope, 'metrics_hourly', T0_MS + DAY_MS);
    for (const table of ['telemetry_metrics', 'metrics_hourly']) {
      await store.clickhouse.command(
        `ALTER TABLE ${table} DELETE WHERE tenant_id = '${scope.tenantId}' AND timestamp < '2026-01-02' SETTINGS mutations_sync = 2`,
      );
    }
    const days = await ask('load', 'sum', 0, 48, 24);
    assert.deepEqual(days, { source: 'metrics_daily', partial: undefined, values: [144, 36] });
    const hours = await ask('load', 'sum', 0, 30);
    assert.deepEqual([hours.partial, hours.values], [true, new Array(6).fill(6)]);
    assert.deepEqual(await run('daily', 40), { rows: 0, hours: 0, days: 0 });
  });

  it('never replaces a rollup by one of fewer points', async () => {
    await put(hoursOfPoints(0, 5));
    await run('daily', 40);
    await store.clickhouse.command(
      `ALTER TABLE telemetry_metrics DELETE WHERE tenant_id = '${scope.tenantId}' AND timestamp < '2026-01-01 03:00:00' SETTINGS mutations_sync = 2`,
    );
    await put([point(T0_MS + HOUR_MS, 'load', 5), point(T0_MS + 4 * HOUR_MS, 'load', 5)]);
    await run('daily', 40);
    assert.deepEqual((await ask('load', 'sum', 0, 5)).values, [6, 6, 6, 6, 11]);
  });

  it('is done by jobs one after the other, which return their counts', async () => {
    await put([point(Date.now() - 2 * HOUR_MS, 'load', 1)]);
    const worker = new AggregationWorker(store.clickhouse, { ...SETTINGS, RETENTION_METRICS_DAYS: 30 }, LOG);
    const job = (id: string) =>
      worker.handle({
        id,
        payload: { step: 'hourly' },
        attempt: 1,
        addedAtMs: 0,
        tickMs: 0,
        signal: new AbortController().signal,
        progress: async () => undefined,
      });
    const [first, second] = await Promise.all([job('1'), job('2')]);
    assert.deepEqual([first.rows, second], [1, { rows: 0, hours: 0, days: 0 }]);
  });
});
