import { randomUUID } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import { cpus } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { parseRule } from '../src/alerts/rule.schema.js';
import { AlertScheduler, offsetOf } from '../src/alerts/scheduler.js';
import { allQueueNumbers, loadConfig } from '../src/config.js';
import { DiskJobQueues } from '../src/disk-jobs/disk-jobs.js';
import { ALERT_EVALUATION } from '../src/jobs/declared.js';
import { PACKAGE_ROOT } from '../src/version.js';
import { SILENT } from '../test/support/access-database.js';
import { AlertsApp } from '../test/support/alerts-app.js';
import { MINUTE } from '../test/support/condition.js';

/**
 * How many rules can be evaluated in a minute, on the embedded engines in one process: as fast as it goes, and by the scheduler and the
 * queue on disk as in the program. `npm run bench:alerts`
 */

const WORKERS = 5;
const POINTS_EACH = 10;

interface Case {
  name: string;
  rules: number;
  /** Metrics that they ask for; rules of one metric ask the same. */
  metrics: number;
  /** Every so many rules fires. */
  firing: number;
}

const CASES: Case[] = [
  { name: '100 questions, none fires', rules: 10_000, metrics: 100, firing: 0 },
  { name: '100 questions, one rule of 100 fires', rules: 10_000, metrics: 100, firing: 100 },
  { name: 'the same, a minute later', rules: 10_000, metrics: 100, firing: 100 },
  { name: 'each its own question, none fires', rules: 300, metrics: 300, firing: 0 },
];
const SCHEDULED: Case = { name: '', rules: 10_000, metrics: 100, firing: 100 };
const SCHEDULED_SETTING = 'per_second=400';
const WARM_UP_MS = 65_000;
const MEASURED_MS = 60_000;

async function makeRules(alerts: AlertsApp, { rules, metrics, firing }: Case, prefix: string) {
  await alerts.postgres.query('DELETE FROM alert_rules');
  const ids = Array.from({ length: rules }, () => randomUUID());
  for (let from = 0; from < rules; from += 500) {
    const rows = ids.slice(from, from + 500).map((id, i) => {
      const n = from + i;
      const query = { signal: 'metrics', metric: `${prefix}.${n % metrics}`, agg: 'avg' };
      const fires = firing > 0 && n % firing === 0;
      const definition = parseRule({
        name: `${prefix} ${n}`,
        query,
        warning: fires ? -1 : 1e6,
        channels: [alerts.channelId],
      });
      const offset = offsetOf(alerts.scope, definition);
      return { id, name: definition.name, definition: JSON.stringify(definition), offset };
    });
    await alerts.postgres.query(
      `WITH given AS (SELECT * FROM jsonb_to_recordset($2::jsonb) AS given (id uuid, name text, definition text, "offset" bigint)),
       rules AS (
         INSERT INTO alert_rules (id, tenant_id, created_by, name, enabled, paused, definition, interval_ms, offset_ms)
         SELECT id, $1, 'bench', name, true, false, definition::json, 60000, "offset" FROM given)
       INSERT INTO alert_rule_states (rule_id) SELECT id FROM given`,
      [alerts.scope.tenantId, JSON.stringify(rows)],
    );
  }
  return ids;
}

/** Some points in each of ten minutes from then on. */
async function makePoints(
  alerts: AlertsApp,
  prefix: string,
  metrics: number,
  startMs: number,
): Promise<void> {
  const columns = `organization_id, workspace_id, tenant_id, timestamp, start_timestamp, service_name, metric_name, metric_type,
    aggregation_temporality, value, value_type, attributes, attribute_types`;
  const { organizationId, workspaceId, tenantId } = alerts.scope;
  const time = `fromUnixTimestamp64Milli(toInt64(${startMs}) + number % ${POINTS_EACH} * ${MINUTE}, 'UTC')`;
  await alerts.store.insertSelect(
    'telemetry_metrics',
    columns,
    `SELECT '${organizationId}', '${workspaceId}', '${tenantId}', ${time}, ${time}, 'shop',
       '${prefix}.' || toString(intDiv(number, ${POINTS_EACH})), 'gauge', 'UNSPECIFIED', number, 'double', map('host', 'h1'), 's'
     FROM numbers(${metrics * POINTS_EACH})`,
  );
}

const cpuSeconds = (before: NodeJS.CpuUsage) => {
  const { user, system } = process.cpuUsage(before);
  return (user + system) / 1e6;
};

/** Each rule once, by as many at once as the queue has workers. */
async function run(alerts: AlertsApp, one: Case, ids: string[], minute: number): Promise<string[]> {
  const queriesBefore = alerts.measuring.queries;
  const cpuBefore = process.cpuUsage();
  const startedAt = performance.now();
  let next = 0;
  let told = 0;
  const work = async () => {
    for (let i = next++; i < ids.length; i = next++) {
      const result = await alerts.evaluate(ids[i], minute);
      if (!('status' in result) || result.status !== 'evaluated') throw new Error(JSON.stringify(result));
      told += result.told;
    }
  };
  await Promise.all(Array.from({ length: WORKERS }, work));
  const seconds = (performance.now() - startedAt) / 1000;
  const cpu = cpuSeconds(cpuBefore);
  return [
    one.name,
    String(one.rules),
    seconds.toFixed(1),
    Math.round((one.rules / seconds) * 60).toLocaleString('en'),
    cpu.toFixed(1),
    ((cpu * 1000) / one.rules).toFixed(2),
    String(alerts.measuring.queries - queriesBefore),
    String(told),
  ];
}

/** The whole way of a minute's evaluations: who is due, the jobs on disk, the evaluations. */
async function runScheduled(alerts: AlertsApp): Promise<string[]> {
  await makeRules(alerts, SCHEDULED, 'd');
  await makePoints(alerts, 'd', SCHEDULED.metrics, Date.now() - 3 * MINUTE);
  const numbers = allQueueNumbers(loadConfig({ QUEUE_ALERT_EVALUATION: SCHEDULED_SETTING }));
  const directory = join(alerts.folder, 'jobs');
  const queues = await DiskJobQueues.open({ directory, numbers, report: () => undefined });
  const lags: number[] = [];
  let evaluated = 0;
  queues.work(ALERT_EVALUATION, async (job) => {
    const result = await alerts.evaluator.evaluate(job, Date.now());
    if ('status' in result && result.status === 'evaluated') evaluated++;
    lags.push(Date.now() - job.payload.tick);
    return result;
  });
  const scheduler = new AlertScheduler(
    alerts.postgres.dataSource,
    queues,
    SILENT,
    60 * numbers['alert-evaluation'].perSecond,
  );
  scheduler.start();
  await sleep(WARM_UP_MS);
  lags.length = 0;
  evaluated = 0;
  const queriesBefore = alerts.measuring.queries;
  const cpuBefore = process.cpuUsage();
  await sleep(MEASURED_MS);
  const cpu = cpuSeconds(cpuBefore);
  const questions = alerts.measuring.queries - queriesBefore;
  const sorted = lags.sort((a, b) => a - b);
  const at = (share: number) => (sorted[Math.floor(share * (sorted.length - 1))] / 1000).toFixed(1);
  const row = [
    String(SCHEDULED.rules),
    evaluated.toLocaleString('en'),
    cpu.toFixed(1),
    String(questions),
    ...[at(0.5), at(0.99), at(1)],
  ];
  await scheduler.stop();
  await queues.close(10_000);
  return row;
}

const table = (head: string[], rows: string[][]) =>
  [head, head.map(() => '---'), ...rows].map((row) => `| ${row.join(' | ')} |`).join('\n');

async function main(): Promise<void> {
  const alerts = await AlertsApp.open();
  try {
    const rows: string[][] = [];
    let ids: string[] = [];
    for (const [i, one] of CASES.entries()) {
      const isSame = one.name.startsWith('the same');
      if (!isSame) {
        await makePoints(alerts, 'abcd'[i], one.metrics, alerts.startMs);
        ids = await makeRules(alerts, one, 'abcd'[i]);
      }
      rows.push(await run(alerts, one, ids, isSame ? 6 : 5));
      console.log(rows[rows.length - 1].join(', '));
    }
    const head = [
      '',
      'rules',
      'seconds',
      'rules a minute',
      'CPU seconds',
      'CPU ms a rule',
      'questions asked',
      'deliveries',
    ];
    const machine = `${cpus().length} cores, ${cpus()[0].model}; Node ${process.version}; ${WORKERS} workers`;
    const scheduledHead = [
      'rules',
      'evaluated in a minute',
      'CPU seconds',
      'questions asked',
      'lag s, median',
      'p99',
      'most',
    ];
    const text = `# Evaluation of alert rules

\`npm run bench:alerts\` on ${machine}

As fast as it goes:

${table(head, rows)}

As in the program, each rule once a minute by the scheduler and the queue on disk, 100 questions, one rule of 100 fires, with
\`QUEUE_ALERT_EVALUATION=${SCHEDULED_SETTING}\` (lag: from a rule's tick until it was evaluated):

${table(scheduledHead, [await runScheduled(alerts)])}
`;
    writeFileSync(join(PACKAGE_ROOT, 'bench', 'results', 'alerts.md'), text);
    console.log(text);
  } finally {
    await alerts.close();
  }
}

await main();
