import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import fc from 'fast-check';
import { pino } from 'pino';
import {
  askable,
  letNotesAge,
  type RandomSeries,
  rowsOf,
  seriesArbitrary,
  storePoints,
  T0_MS,
} from '../../test/support/metric-series.js';
import { TENANT_A, TelemetryStore } from '../../test/support/telemetry-store.js';
import { queryMetric, type Series, type SeriesAnswer } from '../series/metric-series.js';
import { DAY_MS, HOUR_MS } from '../series/rollup-plan.js';
import { aggregate } from './aggregation.worker.js';

const SETTINGS = { ROLLUP_LATE_HOURS: 24, RETENTION_METRICS_DAYS: 3650 };
const LOG = pino({ level: 'silent' });
const SPAN_MS = 6 * DAY_MS;

const questionArbitrary = fc.record({
  asked: askable,
  stepMs: fc.constantFrom(300_000, HOUR_MS, 3 * HOUR_MS, DAY_MS, DAY_MS, 7 * DAY_MS),
  from: fc.oneof(
    fc.integer({ min: 0, max: 100 }).map((hours) => hours * HOUR_MS),
    fc.integer({ min: 0, max: SPAN_MS }),
  ),
  length: fc.oneof(
    fc.integer({ min: 1, max: 120 }).map((hours) => hours * HOUR_MS),
    fc.integer({ min: 1, max: SPAN_MS }),
  ),
  groupBy: fc.subarray(['host', 'service_name', 'none']),
  services: fc.subarray(['shop', 'pay'], { maxLength: 1 }),
  hosts: fc.subarray(['h1', 'h2']),
});
type Question = ReturnType<typeof questionArbitrary.generate>['value'];

/** When rollups are made: until then, and again for what comes late. */
const scheduleArbitrary = fc.record({
  hourlyAtMs: fc.integer({ min: DAY_MS, max: SPAN_MS }),
  dailyAtMs: fc.integer({ min: 2 * DAY_MS, max: SPAN_MS }),
  /** This part of the series comes when the rest is rolled up. */
  lateShare: fc.constantFrom(0, 0.2),
  isLateRolledUp: fc.boolean(),
});

let store: TelemetryStore;
let tenants = 0;

async function fill(
  series: RandomSeries[],
  schedule: ReturnType<typeof scheduleArbitrary.generate>['value'],
) {
  const scope = { ...TENANT_A, tenantId: `random-${tenants++}` };
  const rows = series.map(rowsOf);
  const isLate = (at: number) => at < series.length * schedule.lateShare;
  const rollUp = async () => {
    await letNotesAge(store);
    await aggregate('daily', store.clickhouse, SETTINGS, LOG, { nowMs: T0_MS + schedule.dailyAtMs });
    await aggregate('hourly', store.clickhouse, { ...SETTINGS, ROLLUP_LATE_HOURS: 87_600 }, LOG, {
      nowMs: T0_MS + schedule.hourlyAtMs,
    });
  };
  await storePoints(store, scope, rows.filter((_, at) => !isLate(at)).flat());
  await rollUp();
  const late = rows.filter((_, at) => isLate(at)).flat();
  if (late.length > 0) await storePoints(store, scope, late);
  if (schedule.isLateRolledUp) await rollUp();
  return scope;
}

/** Sums of whole numbers are exact; quotients and interpolations are so to rounding. */
function assertSame(rolled: Series[], raw: Series[], what: string): void {
  const shape = (series: Series[]) =>
    series.map(({ labels, points }) => [labels, points.map(([atMs]) => atMs)]);
  assert.deepEqual(shape(rolled), shape(raw), what);
  const isExact = !/avg|rate|p\d\d/.test(what);
  for (const [at, { points }] of rolled.entries()) {
    for (const [step, [, value]] of points.entries()) {
      const expected = raw[at].points[step][1];
      if (isExact || value === expected) assert.equal(value, expected, what);
      else {
        const apart = Math.abs(Number(value) - Number(expected));
        assert.ok(
          apart <= 1e-9 * Math.max(1, Math.abs(Number(expected))),
          `${what}: ${value} is not ${expected}`,
        );
      }
    }
  }
}

const ask = (scope: typeof TENANT_A, question: Question, from: 'coarsest' | 'raw'): Promise<SeriesAnswer> => {
  const { asked, stepMs, groupBy, services, hosts } = question;
  const filters = hosts.length > 0 ? [{ key: 'host', values: hosts }] : [];
  const fromNs = BigInt(T0_MS + question.from) * 1_000_000n;
  const range = { fromNs, toNs: fromNs + BigInt(question.length) * 1_000_000n };
  return queryMetric(
    scope,
    store.clickhouse,
    { ...asked, stepMs, groupBy, services, filters },
    range,
    undefined,
    from,
  );
};

describe('Answers from rollups', () => {
  before(async () => {
    store = await TelemetryStore.open();
  });
  after(() => store.close());

  it('are those of the raw points, whatever was stored, rolled up, late, and is asked', async () => {
    const sources = new Set<string>();
    await fc.assert(
      fc.asyncProperty(
        fc.array(seriesArbitrary, { minLength: 4, maxLength: 24 }),
        scheduleArbitrary,
        fc.array(questionArbitrary, { minLength: 15, maxLength: 15 }),
        async (series, schedule, questions) => {
          const scope = await fill(series, schedule);
          for (const question of questions) {
            const [rolled, raw] = [await ask(scope, question, 'coarsest'), await ask(scope, question, 'raw')];
            const { series: _, source, meta, ...head } = rolled;
            const { series: __, source: ___, meta: ____, ...rawHead } = raw;
            const what = `${JSON.stringify(question)} from ${source}`;
            assert.deepEqual(head, rawHead, what);
            assert.equal(meta.partial, undefined, what);
            assertSame(rolled.series, raw.series, what);
            if (rolled.series.length > 0) sources.add(source);
          }
        },
      ),
      { numRuns: 3, endOnFailure: true },
    );
    assert.ok(sources.has('metrics_hourly') || sources.has('metrics_daily'), 'rollups were asked');
  });
});
