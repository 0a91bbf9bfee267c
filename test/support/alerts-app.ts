import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type Evaluated, Evaluator } from '../../src/alerts/evaluator.js';
import { IncidentsController } from '../../src/alerts/incidents.controller.js';
import { Measuring } from '../../src/alerts/measure.js';
import { AlertRulesController } from '../../src/alerts/rules.controller.js';
import { SilencesController } from '../../src/alerts/silences.controller.js';
import { ClickHouse } from '../../src/connections/clickhouse.js';
import { openPostgres, type Postgres } from '../../src/connections/postgres.js';
import type { Scope } from '../../src/edge/scope.js';
import { JOB_QUEUES } from '../../src/jobs/job-queue.js';
import type { Notice } from '../../src/notices/notice.js';
import { SILENT } from './access-database.js';
import { MINUTE } from './condition.js';
import { at, attributes, type SqlRow, str, TelemetryStore } from './telemetry-store.js';
import { type Answer, TenantsApp } from './tenants-app.js';

/** The routes of alerts and the evaluation, on the real engines; the clock is the test's. */
export class AlertsApp {
  /** Minute 0: three hours ago. */
  readonly startMs = Math.floor(Date.now() / MINUTE) * MINUTE - 180 * MINUTE;
  readonly measuring: Measuring;
  readonly evaluator: Evaluator;

  private constructor(
    readonly app: TenantsApp,
    readonly postgres: Postgres,
    readonly store: TelemetryStore,
    readonly scope: Scope,
    readonly channelId: string,
    readonly folder: string,
    readonly added: unknown[],
  ) {
    this.measuring = new Measuring(store.clickhouse);
    this.evaluator = this.anotherEvaluator();
  }

  /** One of another process. @param upSinceMs when that was started; unless given, it was always there */
  anotherEvaluator(upSinceMs = 0): Evaluator {
    const { postgres, measuring, added } = this;
    const parts = { source: postgres.dataSource, measuring, log: SILENT, tries: 1 };
    const queues = addTo(added);
    return new Evaluator({ ...parts, queues, upSinceMs });
  }

  static async open(): Promise<AlertsApp> {
    const folder = mkdtempSync(join(tmpdir(), 'tf-alerts-'));
    const store = await TelemetryStore.open();
    const postgres = await openPostgres({ DATA_DIR: folder, DATABASE_URL: undefined });
    const added: unknown[] = [];
    const app = await TenantsApp.open(postgres, {
      controllers: [AlertRulesController, IncidentsController, SilencesController],
      providers: [
        { provide: ClickHouse, useValue: store.clickhouse },
        { provide: JOB_QUEUES, useValue: addTo(added) },
      ],
    });
    const scope = await app.makeOrganization('ours', true);
    await app.makeUser('editor', scope, 'editor');
    await app.makeUser('viewer', scope, 'viewer');
    await app.makeUser('stranger', await app.makeOrganization('theirs'), 'owner');
    const channelId = await addChannel(postgres, scope);
    return new AlertsApp(app, postgres, store, scope, channelId, folder, added);
  }

  async close(): Promise<void> {
    await this.app.close();
    await this.postgres.close();
    await this.store.close();
    rmSync(this.folder, { recursive: true, force: true });
  }

  request(method: 'GET' | 'POST' | 'PATCH' | 'DELETE', path: string, body?: unknown, as = 'editor') {
    return this.app.request(as, method, `/alerts${path}`, body);
  }

  /** The JSON of a request that succeeds. */
  async ok(
    method: 'GET' | 'POST' | 'PATCH' | 'DELETE',
    path: string,
    body?: unknown,
  ): Promise<Answer['body']> {
    const answer = await this.request(method, path, body);
    assert.ok(answer.status < 300, `${method} ${path}: ${JSON.stringify(answer.body)}`);
    return answer.body;
  }

  /** A rule over the greatest depth of the last minute, above 10 a warning; its id. */
  async makeRule(metric: string, change: object = {}): Promise<string> {
    const rule = {
      name: `${metric} ${randomUUID()}`,
      query: { signal: 'metrics', metric, agg: 'max' },
      window: '1m',
      warning: 10,
      channels: [this.channelId],
      ...change,
    };
    return (await this.ok('POST', '/rules', rule)).id;
  }

  /** Points of a gauge: [minute that they lie in, value, host]. */
  async gauge(metric: string, points: [minute: number, value: number, host?: string][]): Promise<void> {
    const rows = points.map(([minute, value, host = 'h1']): SqlRow => {
      const ns = BigInt(this.startMs + minute * MINUTE + 30_000) * 1_000_000n;
      return {
        ...{ timestamp: at(ns), start_timestamp: at(ns), service_name: str('shop') },
        ...{ metric_name: str(metric), metric_type: str('gauge'), unit: str('1') },
        ...{ aggregation_temporality: str('UNSPECIFIED'), is_monotonic: 'false' },
        ...{ value: `toFloat64(${value})`, value_type: str('double') },
        ...attributes({ host }),
      };
    });
    await this.store.insert('telemetry_metrics', this.scope, rows);
  }

  /** Evaluates a rule over the minute given, at the tick right after it. */
  evaluate(ruleId: string, minute: number, by = this.evaluator): Promise<Evaluated> {
    const tick = this.tickAfter(minute);
    const { organizationId, workspaceId, tenantId } = this.scope;
    const ids = { organization_id: organizationId, workspace_id: workspaceId, tenant_id: tenantId };
    const { signal } = new AbortController();
    return by.evaluate({ payload: { ...ids, rule_id: ruleId, tick }, attempt: 1, signal }, tick);
  }

  /** The window ends 2 s before the tick. */
  tickAfter = (minute: number) => this.startMs + (minute + 1) * MINUTE + 2000;

  /** What was told since the last call, of a rule: kind, and the severities of its incidents. */
  async told(ruleId: string): Promise<string[]> {
    const rows = await this.postgres.query<{ notice: Notice }>(
      `WITH told AS (DELETE FROM notification_deliveries WHERE notice -> 'rule' ->> 'id' = $1 RETURNING notice) SELECT * FROM told`,
      [ruleId],
    );
    return rows
      .map(({ notice }) =>
        `${notice.kind} ${notice.incidents.map(({ severity }) => severity).join(' ')}`.trim(),
      )
      .sort();
  }

  /** Incidents of a rule, the oldest first. */
  async incidents(ruleId: string) {
    return (await this.ok('GET', `/incidents?rule_id=${ruleId}`)).data.reverse();
  }
}

const addTo = (added: unknown[]) => ({
  addAll: async (_: unknown, jobs: readonly unknown[]) => {
    added.push(...jobs);
    return [];
  },
});

async function addChannel(postgres: Postgres, scope: Scope): Promise<string> {
  const id = randomUUID();
  await postgres.query(
    `INSERT INTO notification_channels (id, tenant_id, name, kind, settings, created_by) VALUES ($1, $2, 'hook', 'slack', '{}', 'test')`,
    [id, scope.tenantId],
  );
  return id;
}
