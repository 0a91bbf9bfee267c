import { randomUUID } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import { cpus } from 'node:os';
import { join } from 'node:path';
import { parseRule } from '../src/alerts/rule.schema.js';
import { PACKAGE_ROOT } from '../src/version.js';
import { AlertsApp, MINUTE } from '../test/support/alerts-app.js';

/** How many rules can be evaluated in a minute, on the embedded engines in one process. `npm run bench:alerts` */

const WORKERS = 5;

interface Case {
  name: string;
  rules: number;
  /** Metrics that they ask for; rules of one metric ask the same. */
  metrics: number;
  /** Every so many rules fires. */
  firing: number;
}

const CASES: Case[] = [
  { name: '50 questions, none fires', rules: 1000, metrics: 50, firing: 0 },
  { name: '100 questions, one rule of 100 fires', rules: 1000, metrics: 100, firing: 100 },
  { name: 'each its own question, none fires', rules: 300, metrics: 300, firing: 0 },
];

async function makeRules(alerts: AlertsApp, { rules, metrics, firing }: Case, prefix: string) {
  const ids = Array.from({ length: rules }, () => randomUUID());
  for (let from = 0; from < rules; from += 500) {
    const rows = ids.slice(from, from + 500).map((id, i) => {
      const n = from + i;
      const query = { signal: 'metrics', metric: `${prefix}.${n % metrics}`, agg: 'avg' };
      const fires = firing > 0 && n % firing === 0;
      const definition = parseRule({
        name: `${prefix} ${n}`,
        query,
        warning: fires ? 0 : 1e6,
        channels: [alerts.channelId],
      });
      return { id, name: definition.name, definition: JSON.stringify(definition) };
    });
    await alerts.postgres.query(
      `WITH given AS (SELECT * FROM jsonb_to_recordset($2::jsonb) AS given (id uuid, name text, definition text)),
       rules AS (
         INSERT INTO alert_rules (id, tenant_id, created_by, name, enabled, paused, definition, interval_ms, offset_ms)
         SELECT id, $1, 'bench', name, true, false, definition::json, 60000, 0 FROM given)
       INSERT INTO alert_rule_states (rule_id) SELECT id FROM given`,
      [alerts.scope.tenantId, JSON.stringify(rows)],
    );
  }
  return ids;
}

async function run(alerts: AlertsApp, one: Case, prefix: string): Promise<string[]> {
  const ids = await makeRules(alerts, one, prefix);
  const queriesBefore = alerts.measuring.queries;
  const cpuBefore = process.cpuUsage();
  const startedAt = performance.now();
  let next = 0;
  let told = 0;
  const work = async () => {
    for (let i = next++; i < ids.length; i = next++) {
      const result = await alerts.evaluate(ids[i], 5);
      if (!('status' in result) || result.status !== 'evaluated') throw new Error(JSON.stringify(result));
      told += result.told;
    }
  };
  await Promise.all(Array.from({ length: WORKERS }, work));
  const seconds = (performance.now() - startedAt) / 1000;
  const { user, system } = process.cpuUsage(cpuBefore);
  const perMinute = (one.rules / seconds) * 60;
  return [
    one.name,
    String(one.rules),
    seconds.toFixed(1),
    Math.round(perMinute).toLocaleString('en'),
    ((user + system) / 1e6).toFixed(1),
    String(alerts.measuring.queries - queriesBefore),
    String(told),
  ];
}

async function main(): Promise<void> {
  const alerts = await AlertsApp.open();
  try {
    // 2,000 metrics, a point in each of ten minutes.
    const columns = `organization_id, workspace_id, tenant_id, timestamp, start_timestamp, service_name, metric_name, metric_type,
      aggregation_temporality, value, value_type, attributes, attribute_types`;
    const { organizationId, workspaceId, tenantId } = alerts.scope;
    const start = `fromUnixTimestamp64Milli(toInt64(${alerts.startMs}) + number % 10 * ${MINUTE}, 'UTC')`;
    for (const prefix of ['a', 'b', 'c'])
      await alerts.store.insertSelect(
        'telemetry_metrics',
        columns,
        `SELECT '${organizationId}', '${workspaceId}', '${tenantId}', ${start}, ${start}, 'shop',
           '${prefix}.' || toString(intDiv(number, 10)), 'gauge', 'UNSPECIFIED', number, 'double', map('host', 'h1'), 's'
         FROM numbers(20000)`,
      );
    const rows = [['', 'rules', 'seconds', 'rules a minute', 'CPU seconds', 'questions asked', 'deliveries']];
    for (const [i, one] of CASES.entries()) {
      rows.push(await run(alerts, one, 'abc'[i]));
      console.log(rows[rows.length - 1].join(', '));
    }
    rows.splice(
      1,
      0,
      rows[0].map(() => '---'),
    );
    const table = rows.map((row) => `| ${row.join(' | ')} |`).join('\n');
    const machine = `${cpus().length} cores, ${cpus()[0].model}; Node ${process.version}; ${WORKERS} workers`;
    const text = `# Evaluation of alert rules\n\n\`npm run bench:alerts\` on ${machine}\n\n${table}\n`;
    writeFileSync(join(PACKAGE_ROOT, 'bench', 'results', 'alerts.md'), text);
    console.log(text);
  } finally {
    await alerts.close();
  }
}

await main();
