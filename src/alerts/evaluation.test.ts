import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { after, before, describe, it } from 'node:test';
import { AlertsApp } from '../../test/support/alerts-app.js';
import { MINUTE } from '../../test/support/condition.js';
import { at, attributes, id, type SqlRow, str } from '../../test/support/telemetry-store.js';

let alerts: AlertsApp;
before(async () => {
  alerts = await AlertsApp.open();
});
after(() => alerts.close());

interface Shown {
  id: string;
  state: string;
  value: number;
  labels: Record<string, string>;
  summary: string;
}

const stateOf = async (ruleId: string) => (await alerts.ok('GET', `/rules/${ruleId}`)).state;
const nsOf = (minute: number, second: number) =>
  BigInt(alerts.startMs + minute * MINUTE + second * 1000) * 1_000_000n;
/** A channel that takes notices, of which nobody sends any. */
async function makeChannel(): Promise<string> {
  const channelId = randomUUID();
  await alerts.postgres.query(
    `INSERT INTO notification_channels (id, tenant_id, name, kind, settings, created_by) VALUES ($1, $2, $3, 'slack', '{}', 'test')`,
    [channelId, alerts.scope.tenantId, `hook ${channelId}`],
  );
  return channelId;
}
/** Whom notices of a rule were written down for: kinds by channel. */
async function toldTo(ruleId: string): Promise<Record<string, string[]>> {
  const rows = await alerts.postgres.query<{ channel_id: string; kind: string }>(
    `SELECT channel_id, notice ->> 'kind' AS kind FROM notification_deliveries WHERE notice -> 'rule' ->> 'id' = $1 ORDER BY created_at`,
    [ruleId],
  );
  const told: Record<string, string[]> = {};
  for (const { channel_id, kind } of rows) told[channel_id] = [...(told[channel_id] ?? []), kind];
  return told;
}

describe('The evaluation of odd labels', () => {
  it('makes an incident of each group, however long its labels are and whatever is in them', async () => {
    const noise = Array.from({ length: 6000 }, () => Math.floor(Math.random() * 36).toString(36)).join('');
    const hosts = [noise, `${noise}b`, 'a\0b', 'a\uFFFDb', '😀'.repeat(2000), '漢'.repeat(999), ''];
    await alerts.gauge(
      'odd labels',
      hosts.flatMap((host) => [
        [0, 15, host],
        [1, 15, host],
        [2, 5, host],
      ]),
    );
    const rule = await alerts.makeRule('odd labels', {
      group_by: ['host'],
      message: `${'x'.repeat(1999 - '{{labels.host}}'.length)}{{labels.host}}`,
    });
    const groups = hosts.length;
    assert.deepEqual(await alerts.evaluate(rule, 0), { status: 'evaluated', groups, told: 1 });
    assert.deepEqual(await alerts.evaluate(rule, 1), { status: 'evaluated', groups, told: 0 });
    const open: Shown[] = await alerts.incidents(rule);
    assert.equal(open.length, groups);
    assert.equal(new Set(open.map(({ labels }) => labels.host)).size, groups);
    for (const { labels } of open) assert.ok(labels.host.length <= 1000);
    await alerts.evaluate(rule, 2);
    assert.deepEqual(
      (await alerts.incidents(rule)).map(({ state }: Shown) => state),
      hosts.map(() => 'resolved'),
    );
  });

  it('refuses text that could not be kept', async () => {
    const good = { name: 'text', query: { signal: 'logs' }, warning: 1 };
    for (const message of ['a\0b', 'a\uD800'])
      assert.equal((await alerts.request('POST', '/rules', { ...good, message })).status, 400);
    const matchers = [{ label: 'a', operator: '=', value: 'b' }];
    const silence = { matchers, comment: 'x', ends_at: new Date(Date.now() + MINUTE).toISOString() };
    const [one] = matchers;
    for (const change of [{ comment: 'a\0b' }, { matchers: [{ ...one, label: 'a\0' }] }])
      assert.equal((await alerts.request('POST', '/silences', { ...silence, ...change })).status, 400);
    const lines = await alerts.request('POST', '/rules', { ...good, message: 'two\n\tlines' });
    assert.equal(lines.status, 201);
  });
});

describe('The evaluation of late data', () => {
  it('has what came before the end of its delay', async () => {
    const rule = await alerts.makeRule('late data', { evaluation_delay: '1m', query: last('late data') });
    // The tick right after minute 0 with this delay is over the minute before.
    await alerts.gauge('late data', [[0, 5]]);
    await alerts.evaluate(rule, 0);
    await alerts.gauge('late data', [[1, 15]]);
    assert.deepEqual(await alerts.evaluate(rule, 1), { status: 'evaluated', groups: 1, told: 0 });
    // A minute later than it was, and in time.
    assert.deepEqual(await alerts.evaluate(rule, 2), { status: 'evaluated', groups: 1, told: 1 });
  });
});

const last = (metric: string) => ({ signal: 'metrics', metric, agg: 'last' });

describe('The evaluation of logs and spans', () => {
  const common = (minute: number, second: number): SqlRow => ({
    ...{ timestamp: at(nsOf(minute, second)), service_name: str('till') },
    ...{ trace_id: id('01'.repeat(16)), span_id: id('02'.repeat(8)), ...attributes({ route: '/pay' }) },
  });
  const log = (minute: number, body: string): SqlRow => ({
    ...common(minute, 30),
    ...{ severity_number: '17', body: str(body), body_type: str('s') },
  });
  const span = (minute: number, second: number, ms: number, status: string): SqlRow => ({
    ...common(minute, second),
    ...{ span_name: str('GET /pay'), span_kind: str('SERVER'), status_code: str(status) },
    duration_nano: String(ms * 1e6),
  });
  before(async () => {
    const lines = ['card declined', 'card declined: no funds', 'declined card'].map((body) => log(0, body));
    await alerts.store.insert('telemetry_logs', alerts.scope, [...lines, log(1, 'all is well')]);
    const spans = [10, 20, 30, 400].map((ms, i) => span(0, i, ms, i === 3 ? 'ERROR' : 'OK'));
    await alerts.store.insert('telemetry_traces', alerts.scope, [...spans, span(1, 0, 10, 'OK')]);
  });
  const value = async (query: object, change: object = {}) => {
    const rule = await alerts.makeRule('till', { query, warning: 0, ...change });
    await alerts.evaluate(rule, 0);
    const [first]: Shown[] = await alerts.incidents(rule);
    await alerts.evaluate(rule, 1);
    const [{ state }]: Shown[] = await alerts.incidents(rule);
    return [first.value, state];
  };

  it('counts records that have a phrase', async () => {
    assert.deepEqual(await value({ signal: 'logs', q: '"card declined"', service: ['till'] }), [
      2,
      'resolved',
    ]);
  });

  it('knows the error rate and the percentiles of durations', async () => {
    const spans = (figure: string) => ({ signal: 'traces', figure, service: ['till'] });
    assert.deepEqual(await value(spans('error_rate')), [0.25, 'resolved']);
    assert.deepEqual(await value(spans('p50'), { warning: 15 }), [25, 'resolved']);
    const [p95, state] = await value(spans('p95'), { warning: 100 });
    assert.ok(Number(p95) > 300 && Number(p95) <= 400, String(p95));
    assert.equal(state, 'resolved');
    const slow = { signal: 'traces', figure: 'count', min_duration_ms: 30, filters: { route: '/pay' } };
    assert.deepEqual(await value(slow, { group_by: ['service_name'] }), [2, 'resolved']);
  });
});

describe('A rule that expects data', () => {
  it('says that it cannot be evaluated where more groups sent something than it may have', async () => {
    await alerts.store.insertSelect(
      'telemetry_metrics',
      `organization_id, workspace_id, tenant_id, timestamp, start_timestamp, service_name, metric_name, metric_type,
       aggregation_temporality, value, value_type, attributes, attribute_types`,
      `SELECT '${alerts.scope.organizationId}', '${alerts.scope.workspaceId}', '${alerts.scope.tenantId}', ${at(nsOf(-60, 0))},
         ${at(nsOf(-60, 0))}, 'shop', 'wide', 'gauge', 'UNSPECIFIED', 1, 'double', map('host', toString(number)), 's' FROM numbers(1001)`,
    );
    await alerts.gauge('wide', [[0, 1, 'a']]);
    const rule = await alerts.makeRule('wide', { warning: null, absent: 'warning', group_by: ['host'] });
    assert.equal(((await alerts.evaluate(rule, 0)) as { status: string }).status, 'failed');
    const { status, error } = await stateOf(rule);
    assert.equal(status, 'error');
    assert.match(error, /more than 1000 groups/);
  });

  it('knows what is to come of groups when it asks for something else', async () => {
    await alerts.gauge('other', [
      [0, 1, 'a'],
      [0, 1, 'b'],
      [5, 1, 'a'],
    ]);
    const absent = { warning: null, absent: 'warning', group_by: ['host'] };
    const rule = await alerts.makeRule('nothing of it', absent);
    await alerts.evaluate(rule, 4);
    await alerts.ok('PATCH', `/rules/${rule}`, { query: last('other') });
    assert.equal((await stateOf(rule)).status, 'unknown');
    await alerts.evaluate(rule, 5);
    assert.deepEqual(
      (await alerts.incidents(rule)).map(({ labels }: Shown) => labels),
      [{ host: 'b' }],
    );
  });

  it('does not take for absent what was sent while the program was not there', async () => {
    await alerts.gauge('beats', [
      [0, 1],
      [5, 1],
    ]);
    const make = (metric: string) =>
      alerts.makeRule(metric, { warning: null, absent: 'critical', query: last(metric), window: '2m' });
    const [rule, old] = [await make('beats'), await make('beats')];
    // It is away from minute 1 on, and back in the middle of minute 3.
    const again = alerts.anotherEvaluator(alerts.startMs + 3.5 * MINUTE);
    await alerts.evaluate(rule, 0);
    await alerts.evaluate(old, 0);
    await alerts.evaluate(rule, 3, again);
    assert.deepEqual(await alerts.incidents(rule), []);
    // Whoever was there all the time knows that nothing was sent.
    await alerts.evaluate(old, 3);
    assert.equal((await alerts.incidents(old)).length, 1);
    // Nor does it after a whole window in which nothing comes.
    await alerts.evaluate(rule, 6, again);
    assert.deepEqual(await alerts.incidents(rule), []);
    await alerts.evaluate(rule, 8, again);
    assert.equal((await alerts.incidents(rule)).length, 1);
  });
});

describe('Whoever was told that something fires', () => {
  it('is told that it is over, or somebody has it, though the rule names others by then', async () => {
    await alerts.gauge('handed over', [
      [0, 15],
      [1, 15],
      [2, 5],
    ]);
    const [before, later] = [await makeChannel(), await makeChannel()];
    const rule = await alerts.makeRule('handed over', { channels: [before] });
    await alerts.evaluate(rule, 0);
    await alerts.ok('PATCH', `/rules/${rule}`, { channels: [later] });
    const [{ id: incident }]: Shown[] = await alerts.incidents(rule);
    await alerts.ok('POST', `/incidents/${incident}/acknowledge`);
    await alerts.evaluate(rule, 1);
    await alerts.evaluate(rule, 2);
    const told = await toldTo(rule);
    assert.deepEqual(told[before], ['firing', 'acknowledged', 'resolved']);
    assert.deepEqual(told[later], ['acknowledged', 'resolved']);
  });

  it('is told that the rule’s failure is over when it is deleted, turned off or changed', async () => {
    await alerts.gauge('failing', [[0, 15]]);
    const ways: [(rule: string) => Promise<unknown>, string][] = [
      [(rule) => alerts.ok('DELETE', `/rules/${rule}`), 'gone'],
      [(rule) => alerts.ok('PATCH', `/rules/${rule}`, { enabled: false }), 'unknown'],
      [(rule) => alerts.ok('PATCH', `/rules/${rule}`, { query: last('failing') }), 'unknown'],
    ];
    for (const [end, expected] of ways) {
      const channel = await makeChannel();
      const query = { signal: 'metrics', metric: 'failing', agg: 'rate' };
      const rule = await alerts.makeRule('failing', { query, channels: [channel], window: '10m' });
      for (const minute of [0, 5, 6]) await alerts.evaluate(rule, minute);
      assert.equal((await stateOf(rule)).status, 'error');
      await end(rule);
      assert.deepEqual((await toldTo(rule))[channel], ['error', 'resolved']);
      if (expected !== 'gone') assert.equal((await stateOf(rule)).status, expected);
    }
  });
});

describe('A rule whose channel was deleted', () => {
  it('can be changed, and goes on', async () => {
    await alerts.gauge('orphan', [[0, 15]]);
    const [lost, kept] = [await makeChannel(), await makeChannel()];
    const rule = await alerts.makeRule('orphan', { channels: [lost, kept] });
    await alerts.postgres.query('DELETE FROM notification_channels WHERE id = $1', [lost]);
    await alerts.ok('PATCH', `/rules/${rule}`, { warning: 12 });
    await alerts.evaluate(rule, 0);
    assert.deepEqual(Object.keys(await toldTo(rule)), [kept]);
    const again = await alerts.request('PATCH', `/rules/${rule}`, { channels: [lost] });
    assert.equal(again.status, 400);
  });
});

describe('The state of a rule', () => {
  it('is no longer firing when its incident is ended by hand, or it is turned off', async () => {
    await alerts.gauge('ended', [[0, 15]]);
    const rule = await alerts.makeRule('ended');
    await alerts.evaluate(rule, 0);
    const { status, firing } = await stateOf(rule);
    assert.deepEqual([status, firing], ['firing', 1]);
    const [{ id: incident }]: Shown[] = await alerts.incidents(rule);
    await alerts.ok('POST', `/incidents/${incident}/resolve`);
    const ended = await stateOf(rule);
    assert.deepEqual([ended.status, ended.firing, ended.pending], ['ok', 0, 0]);
    await alerts.ok('PATCH', `/rules/${rule}`, { enabled: false });
    assert.equal((await stateOf(rule)).status, 'unknown');
  });
});
