import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { Registry } from 'prom-client';
import { AlertsApp } from '../../test/support/alerts-app.js';
import { EvaluationMetrics, registerAlertMetrics } from './alert-metrics.js';
import type { Evaluated } from './evaluator.js';

describe('The figures of alerting', () => {
  let alerts: AlertsApp;
  before(async () => {
    alerts = await AlertsApp.open();
  });
  after(() => alerts.close());

  it('are how the rules stand and what fires', async () => {
    await alerts.gauge('seen', [[0, 15]]);
    await alerts.evaluate(await alerts.makeRule('seen'), 0);
    await alerts.evaluate(await alerts.makeRule('seen', { critical: 12 }), 0);
    await alerts.evaluate(await alerts.makeRule('seen', { warning: 20 }), 0);
    await alerts.makeRule('seen', { enabled: false });
    await alerts.makeRule('seen', { paused: true });
    await alerts.makeRule('seen');
    await alerts.makeRule('seen', { interval: '10s' });
    const registry = new Registry();
    registerAlertMetrics(registry, alerts.postgres.dataSource, 6000);
    const text = await registry.metrics();
    const states = { unknown: 2, ok: 1, pending: 0, firing: 2, error: 0, paused: 1, off: 1 };
    for (const [state, count] of Object.entries(states))
      assert.ok(text.includes(`telemetryflow_alert_rules{state="${state}"} ${count}\n`), `${state}\n${text}`);
    // Five each minute, and one six times.
    for (const [figure, count] of Object.entries({ due: 10, allowed: 6000 }))
      assert.ok(
        text.includes(`telemetryflow_alert_evaluations_per_minute{figure="${figure}"} ${count}\n`),
        text,
      );
    for (const severity of ['warning', 'critical'])
      assert.ok(text.includes(`telemetryflow_alert_incidents_open{severity="${severity}"} 1\n`), text);
  });

  it('are missing while the database is away or does not answer, and not 0', async () => {
    for (const answer of [Promise.reject(new Error('away')), new Promise<never>(() => undefined)]) {
      const registry = new Registry();
      registerAlertMetrics(registry, { query: () => answer }, 6000);
      assert.doesNotMatch(await registry.metrics(), /^telemetryflow_alert/m);
    }
  });

  it('are what became of each evaluation, and how late it was', async () => {
    const registry = new Registry();
    const metrics = new EvaluationMetrics(registry);
    const observe = (evaluated: Evaluated, lateMs = 0) =>
      metrics.observe(Date.now() - lateMs, async () => evaluated);
    await observe({ status: 'evaluated', groups: 1, told: 0 }, 20_000);
    await observe({ status: 'failed', groups: 0, told: 0 });
    await observe({ skipped: 'done' });
    assert.deepEqual(await observe({ skipped: 'not there' }), { skipped: 'not there' });
    const failing = metrics.observe(Date.now(), () => Promise.reject(new Error('away')));
    await assert.rejects(failing, /away/);
    const text = await registry.metrics();
    for (const result of ['evaluated', 'failed', 'done', 'not_there', 'retried'])
      assert.ok(text.includes(`telemetryflow_alert_evaluations_total{result="${result}"} 1\n`), text);
    assert.match(text, /^telemetryflow_alert_evaluation_seconds_count 2$/m);
    assert.match(text, /^telemetryflow_alert_evaluation_lag_seconds_bucket\{le="10"\} 1$/m);
    assert.match(text, /^telemetryflow_alert_evaluation_lag_seconds_bucket\{le="120"\} 2$/m);
  });
});
