import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import fc from 'fast-check';
import { ALL_KINDS, rowsOf, seriesArbitrary, storePoints, T0_MS } from '../../test/support/metric-series.js';
import { TENANT_A, TelemetryStore } from '../../test/support/telemetry-store.js';
import { DAY_MS } from './rollup-plan.js';
import {
  type Batch,
  dailyStatement,
  hourlyStatement,
  ROLLED_KINDS,
  type RolledKind,
} from './rollup-statements.js';

const KINDS = Object.keys(ROLLED_KINDS) as RolledKind[];
const RANGE = { fromNs: BigInt(T0_MS) * 1_000_000n, toNs: BigInt(T0_MS + 10 * DAY_MS) * 1_000_000n };

let store: TelemetryStore;

async function write(statement: (batch: Batch) => string, slices: number, version: number): Promise<void> {
  for (const kind of KINDS) {
    for (let slice = 0; slice < slices; slice++) {
      await store.clickhouse.command(
        statement({ scope: TENANT_A, range: RANGE, kind, slice, slices, version }),
      );
    }
  }
}

const rowsOfTable = async (table: string, version: number) =>
  (
    await store.clickhouse.read(
      `SELECT * EXCEPT version FROM ${table} WHERE version = {v:UInt64} ORDER BY ALL`,
      {
        v: version,
      },
    )
  ).rows;

describe('A rollup that is written in slices', () => {
  before(async () => {
    store = await TelemetryStore.open();
    const random = fc.sample(seriesArbitrary, { numRuns: 45, seed: 6 });
    const series = random.map((one, at) => ({ ...one, kind: ALL_KINDS[at % ALL_KINDS.length] }));
    await storePoints(store, TENANT_A, series.flatMap(rowsOf));
  });
  after(() => store.close());

  it('is the one that is written at once, for every kind of metric', async () => {
    await write(hourlyStatement, 1, 1);
    const whole = await rowsOfTable('metrics_hourly', 1);
    const metrics = new Set(whole.map((row) => (row as { metric_name: string }).metric_name));
    assert.deepEqual([...metrics].sort(), [...ALL_KINDS].sort());
    await write(hourlyStatement, 3, 2);
    assert.deepEqual(await rowsOfTable('metrics_hourly', 2), whole);
    await write(dailyStatement, 1, 3);
    const days = await rowsOfTable('metrics_daily', 3);
    assert.ok(days.length > 0);
    await write(dailyStatement, 4, 4);
    assert.deepEqual(await rowsOfTable('metrics_daily', 4), days);
  });
});
