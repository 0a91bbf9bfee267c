import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { coarsest, DAY_MS, HOUR_MS, type Need, planSegments, type RollupState } from './rollup-plan.js';

const NS = 1_000_000n;
/** A Thursday, so that weeks of the epoch begin on it. */
const T0 = 20_454 * DAY_MS;
const hours = (count: number) => T0 + count * HOUR_MS;

const state = (some: Partial<RollupState> = {}): RollupState => ({
  hourlyUntilMs: hours(50),
  dailyUntilMs: hours(48),
  staleHours: new Set(),
  staleDays: new Set(),
  rawFromMs: 0,
  hourlyFromMs: 0,
  dailyFromMs: 0,
  ...some,
});
const need = (stepMs: number, some: Partial<Need> = {}): Need => ({
  stepMs,
  canBeRolled: true,
  lookBackMs: 0,
  ...some,
});
const range = (fromMs: number, toMs: number) => ({ fromNs: BigInt(fromMs) * NS, toNs: BigInt(toMs) * NS });

/** Segments as [source, hour it begins, hour it ends]. */
function plan(fromMs: number, toMs: number, what: Need, of: RollupState) {
  const at = (ns: bigint) => (Number(ns / NS) - T0) / HOUR_MS;
  return planSegments(range(fromMs, toMs), what, of).segments.map(({ source, fromNs, toNs }) => [
    source.replace('metrics_', ''),
    at(fromNs),
    at(toNs),
  ]);
}

describe('The plan of a question', () => {
  it('takes days for whole days, hours for their edges, raw points for ragged ones and after the watermark', () => {
    assert.deepEqual(plan(hours(20.5), hours(60), need(DAY_MS), state()), [
      ['raw', 20.5, 21],
      ['hourly', 21, 24],
      ['daily', 24, 48],
      ['hourly', 48, 50],
      ['raw', 50, 60],
    ]);
  });

  it('takes no days for steps of hours, and raw points for shorter steps and for what only points tell', () => {
    assert.deepEqual(plan(hours(0), hours(48), need(3 * HOUR_MS), state()), [['hourly', 0, 48]]);
    assert.deepEqual(plan(hours(0), hours(48), need(5.5 * HOUR_MS), state()), [['raw', 0, 48]]);
    assert.deepEqual(plan(hours(0), hours(48), need(DAY_MS, { canBeRolled: false }), state()), [
      ['raw', 0, 48],
    ]);
  });

  it('takes raw points for hours that late rows came for, and hours for the day they are of', () => {
    const late = state({ staleHours: new Set([hours(30)]), staleDays: new Set([hours(24)]) });
    assert.deepEqual(plan(hours(0), hours(48), need(DAY_MS), late), [
      ['daily', 0, 24],
      ['hourly', 24, 30],
      ['raw', 30, 31],
      ['hourly', 31, 48],
    ]);
  });

  it('reads one long stretch of raw points where late rows came for very many hours', () => {
    const late = state({ staleHours: new Set(Array.from({ length: 40 }, (_, n) => hours(2 + n * 2 - 48))) });
    const segments = plan(hours(-48), hours(50), need(HOUR_MS), late);
    assert.deepEqual(segments, [
      ['hourly', -48, -46],
      ['raw', -46, 33],
      ['hourly', 33, 50],
    ]);
  });

  it('says which raw points it needs that are gone', () => {
    const gone = (fromMs: number, what: Need, some: Partial<RollupState>) =>
      planSegments(range(fromMs, hours(48)), what, state(some)).gone.map(({ fromNs, toNs }) => [
        (Number(fromNs / NS) - T0) / HOUR_MS,
        (Number(toNs / NS) - T0) / HOUR_MS,
      ]);
    const rawFromMs = hours(24);
    assert.deepEqual(gone(hours(0), need(HOUR_MS), { rawFromMs }), []);
    assert.deepEqual(gone(hours(0.5), need(HOUR_MS), { rawFromMs }), [[0.5, 1]]);
    assert.deepEqual(gone(hours(0), need(HOUR_MS / 2), { rawFromMs }), [[0, 24]]);
    // A counter's first change is counted from a point that is gone.
    assert.deepEqual(gone(hours(24), need(HOUR_MS / 2, { lookBackMs: HOUR_MS }), { rawFromMs }), [[23, 24]]);
    // Late rows are not in the rollup, nor can they be read any more.
    const staleHours = new Set([hours(3)]);
    assert.deepEqual(gone(hours(0), need(HOUR_MS), { rawFromMs, staleHours }), [[3, 4]]);
  });

  it('outlives the hours: days answer for what is gone of them, and what days cannot is said to be gone', () => {
    const old = state({ rawFromMs: hours(48), hourlyFromMs: hours(24) });
    assert.deepEqual(plan(hours(0), hours(48), need(DAY_MS), old), [['daily', 0, 48]]);
    const { segments, gone } = planSegments(range(hours(0), hours(48)), need(HOUR_MS), old);
    assert.deepEqual(
      segments.map(({ source }) => source),
      ['raw', 'metrics_hourly'],
    );
    assert.deepEqual(gone, [range(hours(0), hours(24))]);
    const older = state({ rawFromMs: hours(48), hourlyFromMs: hours(48), dailyFromMs: hours(24) });
    assert.deepEqual(planSegments(range(hours(0), hours(48)), need(DAY_MS), older).gone, [
      range(hours(0), hours(24)),
    ]);
  });

  it('covers the range without gaps or overlaps, by whole and clean hours and days of the rollups', () => {
    const minutes = (max: number) => fc.integer({ min: 0, max }).map((minute) => T0 + minute * 60_000);
    const arbitraryState = fc.record({
      hourlyUntilMs: fc.integer({ min: 0, max: 120 }).map(hours),
      dailyUntilMs: fc.integer({ min: 0, max: 5 }).map((days) => hours(days * 24)),
      staleHours: fc.array(fc.integer({ min: 0, max: 119 }).map(hours)).map((list) => new Set(list)),
      staleDays: fc
        .array(fc.integer({ min: 0, max: 4 }).map((day) => hours(day * 24)))
        .map((list) => new Set(list)),
      rawFromMs: fc.constant(0),
      hourlyFromMs: fc.constant(0),
      dailyFromMs: fc.constant(0),
    });
    fc.assert(
      fc.property(
        minutes(7200),
        minutes(7200),
        fc.constantFrom(60_000, HOUR_MS, 6 * HOUR_MS, DAY_MS, 7 * DAY_MS),
        arbitraryState,
        (a, b, stepMs, of) => {
          if (a === b) return;
          const asked = range(Math.min(a, b), Math.max(a, b));
          const { segments } = planSegments(asked, need(stepMs), of);
          assert.equal(segments[0].fromNs, asked.fromNs);
          assert.equal(segments[segments.length - 1].toNs, asked.toNs);
          for (const [at, { source, fromNs, toNs }] of segments.entries()) {
            assert.ok(fromNs < toNs);
            if (at > 0) assert.equal(segments[at - 1].toNs, fromNs);
            if (source === 'raw') continue;
            const unit = source === 'metrics_daily' ? DAY_MS : HOUR_MS;
            assert.equal(stepMs % unit, 0);
            const [stale, until] =
              unit === DAY_MS ? [of.staleDays, of.dailyUntilMs] : [of.staleHours, of.hourlyUntilMs];
            const [from, to] = [Number(fromNs / NS), Number(toNs / NS)];
            assert.ok(from % unit === 0 && to % unit === 0 && to <= until);
            for (let time = from; time < to; time += unit) assert.ok(!stale.has(time));
          }
        },
      ),
    );
  });

  it('is called by the coarsest source in it', () => {
    assert.equal(coarsest(['raw', 'metrics_hourly', 'metrics_daily']), 'metrics_daily');
    assert.equal(coarsest(['raw', 'metrics_hourly']), 'metrics_hourly');
    assert.equal(coarsest(['raw']), 'raw');
  });
});
