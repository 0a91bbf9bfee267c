import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import pino from 'pino';
import { SILENT } from '../../test/support/access-database.js';
import { AlertsApp } from '../../test/support/alerts-app.js';
import { MINUTE } from '../../test/support/condition.js';
import type { EvaluationPayload } from './evaluator.js';
import { AlertScheduler, DUE_PER_MINUTE } from './scheduler.js';

let alerts: AlertsApp;
before(async () => {
  alerts = await AlertsApp.open();
});
after(() => alerts.close());

interface Job {
  id: string;
  payload: EvaluationPayload;
}

/** A queue that adds a job of an id once, as the real ones do. */
class Ids {
  readonly jobs = new Map<string, Job>();
  isAway = false;
  lagMs = 0;

  readonly lag = async () => ({ lagMs: this.lagMs, isPaused: false });

  readonly addAll = async (_: unknown, jobs: readonly unknown[]) => {
    if (this.isAway) throw new Error('the queue is away');
    for (const job of jobs as Job[]) this.jobs.set(job.id, job);
    return [];
  };

  ticksOf = (ruleId: string) =>
    [...this.jobs.values()]
      .filter(({ payload }) => payload.rule_id === ruleId)
      .map(({ payload }) => payload.tick);
}

const schedulerOf = (ids: Ids) => new AlertScheduler(alerts.postgres.dataSource, ids, SILENT, 6000);

describe('The scheduler of alerts', () => {
  it('adds a job at each tick of a rule, the same ones whoever does it', async () => {
    const rule = await alerts.makeRule('scheduled', { interval: '30s' });
    const ids = new Ids();
    const [one, other] = [schedulerOf(ids), schedulerOf(ids)];
    for (let ms = 0; ms <= 5 * MINUTE; ms += 1000) {
      await one.look(alerts.startMs + ms);
      if (ms % 7000 === 0) await other.look(alerts.startMs + ms + 333);
    }
    const ticks = ids.ticksOf(rule);
    assert.ok(ticks.length >= 10 && ticks.length <= 12, String(ticks.length));
    for (const [i, tick] of ticks.sort((a, b) => a - b).entries()) assert.equal(tick, ticks[0] + i * 30_000);
    const [job] = [...ids.jobs.values()].filter(({ payload }) => payload.rule_id === rule);
    assert.equal(job.id, `${rule}.${job.payload.tick}`);
    assert.equal(job.payload.tenant_id, alerts.scope.tenantId);
    assert.equal(job.payload.organization_id, alerts.scope.organizationId);
  });

  it('spreads rules over the interval, those that ask the same at the same time', async () => {
    const rules: string[] = [];
    for (let i = 0; i < 20; i++) rules.push(await alerts.makeRule(`spread ${i % 10}`, { warning: i }));
    const ids = new Ids();
    const scheduler = schedulerOf(ids);
    for (let ms = 0; ms <= MINUTE; ms += 1000) await scheduler.look(alerts.startMs + ms);
    const offsets = rules.map((rule) => ids.ticksOf(rule)[0] % MINUTE);
    for (let i = 0; i < 10; i++) assert.equal(offsets[i], offsets[i + 10]);
    assert.ok(new Set(offsets.map((offset) => Math.floor(offset / 10_000))).size > 2, offsets.join());
  });

  it('adds nothing for rules that are off or paused', async () => {
    const rules = [
      await alerts.makeRule('off', { enabled: false }),
      await alerts.makeRule('paused', { paused: true }),
    ];
    const ids = new Ids();
    const scheduler = schedulerOf(ids);
    for (let ms = 0; ms <= 2 * MINUTE; ms += 10_000) await scheduler.look(alerts.startMs + ms);
    assert.deepEqual(rules.flatMap(ids.ticksOf), []);
  });

  it('after a pause makes up for the last tick alone', async () => {
    const rule = await alerts.makeRule('resumed', { interval: '10s' });
    const ids = new Ids();
    const scheduler = schedulerOf(ids);
    await scheduler.look(alerts.startMs);
    const before = ids.ticksOf(rule).length;
    await scheduler.look(alerts.startMs + 60 * MINUTE);
    assert.equal(ids.ticksOf(rule).length, before + 1);
  });

  it('adds later what could not be added', async () => {
    const rule = await alerts.makeRule('delayed', { interval: '10s' });
    const ids = new Ids();
    const scheduler = schedulerOf(ids);
    await scheduler.look(alerts.startMs);
    const before = ids.ticksOf(rule).length;
    ids.isAway = true;
    await scheduler.look(alerts.startMs + 10_000);
    ids.isAway = false;
    await scheduler.look(alerts.startMs + 10_500);
    assert.equal(ids.ticksOf(rule).length, before + 1);
  });

  it('warns of more rules than the queue may evaluate before they are late, and shows which are', async () => {
    await alerts.makeRule('more than allowed', { interval: '10s' });
    const [{ due }] = await alerts.postgres.query<{ due: number }>(DUE_PER_MINUTE);
    assert.ok(due >= 6);
    let text = '';
    const sink = { write: (line: string) => (text += line) };
    const warnings = () => text.split('\n').filter((line) => line.includes('QUEUE_ALERT_EVALUATION')).length;
    const schedulerWith = (allowed: number) =>
      new AlertScheduler(alerts.postgres.dataSource, new Ids(), pino({ level: 'warn' }, sink), allowed);
    await schedulerWith(due).look(alerts.startMs);
    assert.equal(warnings(), 0);
    const scheduler = schedulerWith(due - 1);
    for (let minute = 0; minute < 60; minute++) await scheduler.look(alerts.startMs + minute * MINUTE);
    assert.equal(warnings(), 1);
    assert.match(text, new RegExp(`want ${Math.round(due)} evaluations a minute`));
    await scheduler.look(alerts.startMs + 60 * MINUTE);
    assert.equal(warnings(), 2);

    // So long an interval that the time the test takes is nothing to it.
    const rule = await alerts.makeRule('seldom', { interval: '10m' });
    const isOverdue = async () => (await alerts.ok('GET', `/rules/${rule}`)).state.overdue;
    assert.equal(await isOverdue(), false);
    const made = (ago: string) =>
      alerts.postgres.query('UPDATE alert_rules SET updated_at = now() - $2::interval WHERE id = $1', [
        rule,
        ago,
      ]);
    await made('20 minutes');
    assert.equal(await isOverdue(), false);
    await made('22 minutes');
    assert.equal(await isOverdue(), true);
    await alerts.evaluate(rule, 178);
    assert.equal(await isOverdue(), false);
    await alerts.ok('PATCH', `/rules/${rule}`, { paused: true });
    await made('22 minutes');
    assert.equal(await isOverdue(), false);
  });

  it('adds no more while the queue does not keep up, and then the last tick of each rule', async () => {
    const rule = await alerts.makeRule('too many', { interval: '10s' });
    const ids = new Ids();
    const scheduler = schedulerOf(ids);
    await scheduler.look(alerts.startMs);
    const before = ids.ticksOf(rule).length;
    ids.lagMs = 60_001;
    for (let ms = 1000; ms <= 30_000; ms += 1000) await scheduler.look(alerts.startMs + ms);
    assert.equal(ids.ticksOf(rule).length, before);
    ids.lagMs = 60_000;
    await scheduler.look(alerts.startMs + 31_000);
    assert.equal(ids.ticksOf(rule).length, before + 1);
    assert.ok(Math.max(...ids.ticksOf(rule)) > alerts.startMs + 21_000);
  });
});
