import { setTimeout as sleep } from 'node:timers/promises';
import { Counter, Gauge, Histogram, type Registry } from 'prom-client';
import type { DataSource } from 'typeorm';
import type { Evaluated } from './evaluator.js';
import { DUE_PER_MINUTE } from './scheduler.js';

const EVALUATION_SECONDS = [0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5, 10, 30];
const LAG_SECONDS = [0.1, 0.5, 1, 2, 5, 10, 30, 60, 120, 300];
/** Several scrapers cost no more than one. */
const KEPT_MS = 10_000;
/** The other figures are not kept waiting for a database that does not answer. */
const MAX_WAIT_MS = 2000;

/** What this process evaluates. */
export class EvaluationMetrics {
  private readonly evaluations: Counter;
  private readonly seconds: Histogram;
  private readonly lag: Histogram;

  constructor(registry: Registry) {
    const registers = [registry];
    this.evaluations = new Counter({
      name: 'telemetryflow_alert_evaluations_total',
      help: 'Evaluations of alert rules: evaluated, failed (the rule is in error), retried, or skipped because it was done, is off or not there.',
      labelNames: ['result'],
      registers,
    });
    this.seconds = new Histogram({
      name: 'telemetryflow_alert_evaluation_seconds',
      help: 'Time that the evaluations of rules took, skipped ones not counted.',
      buckets: EVALUATION_SECONDS,
      registers,
    });
    this.lag = new Histogram({
      name: 'telemetryflow_alert_evaluation_lag_seconds',
      help: 'From the point in time at which a rule was to be evaluated until it was.',
      buckets: LAG_SECONDS,
      registers,
    });
  }

  /** Counts an evaluation; it ends as it would. */
  async observe(tickMs: number, evaluate: () => Promise<Evaluated>): Promise<Evaluated> {
    const startedAt = performance.now();
    try {
      const evaluated = await evaluate();
      if ('skipped' in evaluated) {
        this.evaluations.inc({ result: evaluated.skipped.replace(' ', '_') });
        return evaluated;
      }
      this.evaluations.inc({ result: evaluated.status });
      this.seconds.observe((performance.now() - startedAt) / 1000);
      this.lag.observe(Math.max(0, Date.now() - tickMs) / 1000);
      return evaluated;
    } catch (error) {
      this.evaluations.inc({ result: 'retried' });
      throw error;
    }
  }
}

/** Each of them is always there, so that one that is 0 is not taken for one that nobody knows. */
const RULE_STATES = ['unknown', 'ok', 'pending', 'firing', 'error', 'paused', 'off'];
const SEVERITIES = ['warning', 'critical'];

interface Count {
  name: string;
  count: number;
}

/** How the rules of all tenants stand, what fires, and how many evaluations there may be; no figures while the database is away. */
export function registerAlertMetrics(
  registry: Registry,
  source: Pick<DataSource, 'query'>,
  allowedPerMinute: number,
): void {
  registerCounts(registry, source, {
    name: 'telemetryflow_alert_rules',
    help: 'Alert rules by how they stand.',
    label: 'state',
    all: RULE_STATES,
    sql: `SELECT CASE WHEN NOT enabled THEN 'off' WHEN paused THEN 'paused' ELSE status END AS name, count(*)::integer AS count
      FROM alert_rules JOIN alert_rule_states ON rule_id = id GROUP BY 1`,
  });
  registerCounts(registry, source, {
    name: 'telemetryflow_alert_incidents_open',
    help: 'Incidents that are not over, by their severity.',
    label: 'severity',
    all: SEVERITIES,
    sql: `SELECT severity AS name, count(*)::integer AS count FROM alert_incidents WHERE resolved_at IS NULL GROUP BY 1`,
  });
  registerCounts(registry, source, {
    name: 'telemetryflow_alert_evaluations_per_minute',
    help: 'Evaluations a minute that all rules together want, and that the setting QUEUE_ALERT_EVALUATION allows.',
    label: 'figure',
    all: ['due', 'allowed'],
    sql: `SELECT 'due' AS name, due AS count FROM (${DUE_PER_MINUTE}) AS wanted UNION ALL SELECT 'allowed', ${allowedPerMinute}`,
  });
}

function registerCounts(
  registry: Registry,
  source: Pick<DataSource, 'query'>,
  { name, help, label, all, sql }: { name: string; help: string; label: string; all: string[]; sql: string },
): void {
  let kept: { atMs: number; counts: Promise<Count[] | undefined> } | undefined;
  const counts = () => {
    const nowMs = performance.now();
    if (!kept || nowMs - kept.atMs > KEPT_MS)
      kept = { atMs: nowMs, counts: source.query<Count[]>(sql).catch(() => undefined) };
    return Promise.race([kept.counts, sleep(MAX_WAIT_MS, undefined, { ref: false })]);
  };
  new Gauge({
    name,
    help,
    labelNames: [label],
    registers: [registry],
    async collect() {
      const found = await counts();
      this.reset();
      if (!found) return;
      const known = new Map(found.map((one) => [one.name, one.count]));
      for (const value of all) this.set({ [label]: value }, known.get(value) ?? 0);
    },
  });
}
