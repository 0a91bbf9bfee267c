import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { after, before, describe, it } from 'node:test';
import { AlertsApp } from '../../test/support/alerts-app.js';
import { MINUTE } from '../../test/support/condition.js';

let alerts: AlertsApp;
before(async () => {
  alerts = await AlertsApp.open();
});
after(() => alerts.close());

const statusOf = async (ruleId: string) => (await alerts.ok('GET', `/rules/${ruleId}`)).state.status;

describe('The evaluation of a rule', () => {
  it('opens an incident, tells it, and resolves it', async () => {
    await alerts.gauge('depth', [
      [0, 5],
      [1, 15],
      [2, 15],
      [3, 5],
    ]);
    const rule = await alerts.makeRule('depth', {
      message: 'Depth is {{value}} on {{labels.team}}',
      labels: { team: 'a' },
    });
    assert.deepEqual(await alerts.evaluate(rule, 0), { status: 'evaluated', groups: 1, told: 0 });
    assert.equal(await statusOf(rule), 'ok');
    assert.deepEqual(await alerts.evaluate(rule, 1), { status: 'evaluated', groups: 1, told: 1 });
    assert.equal(await statusOf(rule), 'firing');
    assert.deepEqual(await alerts.told(rule), ['firing warning']);
    const [incident] = await alerts.incidents(rule);
    assert.equal(incident.state, 'open');
    assert.equal(incident.value, 15);
    assert.equal(incident.threshold, 10);
    assert.equal(incident.summary, 'Depth is 15 on a');
    assert.deepEqual(incident.labels, { team: 'a' });
    assert.deepEqual(await alerts.evaluate(rule, 2), { status: 'evaluated', groups: 1, told: 0 });
    assert.deepEqual(await alerts.evaluate(rule, 3), { status: 'evaluated', groups: 1, told: 1 });
    assert.deepEqual(await alerts.told(rule), ['resolved warning']);
    const [ended] = await alerts.incidents(rule);
    assert.equal(ended.id, incident.id);
    assert.equal(ended.state, 'resolved');
    assert.equal(ended.resolved_by, 'recovery');
    const { timeline } = await alerts.ok('GET', `/incidents/${incident.id}`);
    assert.deepEqual(
      timeline.map(({ kind, value }: { kind: string; value: number }) => [kind, value]),
      [
        ['opened', 15],
        ['told', null],
        ['value', 15],
        ['resolved', 5],
        ['told', null],
      ],
    );
  });

  it('makes one incident per group, and tells those that begin together in one message', async () => {
    await alerts.gauge('grouped', [
      [0, 15, 'a'],
      [0, 25, 'b'],
      [0, 5, 'c'],
      [1, 5, 'a'],
      [1, 25, 'b'],
      [1, 5, 'c'],
    ]);
    const rule = await alerts.makeRule('grouped', { group_by: ['host'], critical: 20 });
    assert.deepEqual(await alerts.evaluate(rule, 0), { status: 'evaluated', groups: 3, told: 1 });
    assert.deepEqual(await alerts.told(rule), ['firing warning critical']);
    await alerts.evaluate(rule, 1);
    assert.deepEqual(await alerts.told(rule), ['resolved warning']);
    const hosts = (await alerts.incidents(rule)).map(
      ({ labels, state }: { labels: { host: string }; state: string }) => [labels.host, state],
    );
    assert.deepEqual(hosts.sort(), [
      ['a', 'resolved'],
      ['b', 'open'],
    ]);
  });

  it('stays firing and says gone when the data stops coming', async () => {
    await alerts.gauge('gone', [
      [0, 15],
      [4, 5],
    ]);
    const rule = await alerts.makeRule('gone');
    await alerts.evaluate(rule, 0);
    await alerts.evaluate(rule, 1);
    await alerts.evaluate(rule, 2);
    await alerts.evaluate(rule, 3);
    assert.deepEqual(await alerts.told(rule), ['firing warning', 'gone warning']);
    const [incident] = await alerts.incidents(rule);
    assert.equal(incident.state, 'open');
    assert.equal(Date.parse(incident.gone_since), alerts.tickAfter(1));
    await alerts.evaluate(rule, 4);
    assert.equal((await alerts.incidents(rule))[0].state, 'resolved');
  });

  it('counts logs as 0 while their service sends others, and as gone when it sends none', async () => {
    const log = (minute: number, severity: number) => ({
      timestamp: `fromUnixTimestamp64Nano(toInt64(${BigInt(alerts.startMs + minute * MINUTE + 30_000) * 1_000_000n}))`,
      service_name: `'checkout'`,
      severity_number: String(severity),
      body: `'x'`,
      body_type: `'s'`,
    });
    const rows = [log(0, 17), log(0, 17), log(2, 9)];
    await alerts.store.insert('telemetry_logs', alerts.scope, rows);
    const query = { signal: 'logs', min_severity: 'error', service: ['checkout'] };
    const rule = await alerts.makeRule('logs', { query, warning: 1, group_by: ['service_name'] });
    await alerts.evaluate(rule, 0);
    assert.equal((await alerts.incidents(rule))[0].value, 2);
    await alerts.evaluate(rule, 1);
    assert.equal((await alerts.incidents(rule))[0].state, 'open');
    await alerts.evaluate(rule, 2);
    assert.equal((await alerts.incidents(rule))[0].state, 'resolved');
    assert.deepEqual(await alerts.told(rule), ['firing warning', 'gone warning', 'resolved warning']);
  });

  it('knows ratios and changes against an earlier window', async () => {
    await alerts.gauge('part', [[10, 30]]);
    await alerts.gauge('whole', [
      [10, 100],
      [5, 50],
    ]);
    const whole = { signal: 'metrics', metric: 'whole', agg: 'max' };
    const ratio = await alerts.makeRule('part', { divide_by: whole, warning: 0.25 });
    await alerts.evaluate(ratio, 10);
    assert.equal((await alerts.incidents(ratio))[0].value, 0.3);
    const change = await alerts.makeRule('whole', {
      compare_to: { before: '5m', as: 'percent' },
      warning: 99,
    });
    await alerts.evaluate(change, 10);
    assert.equal((await alerts.incidents(change))[0].value, 100);
  });

  it('fires for the absence of a series that was there in the day before', async () => {
    await alerts.gauge('heartbeat', [
      [0, 1, 'a'],
      [0, 1, 'b'],
      [5, 1, 'a'],
      [6, 1, 'a'],
      [6, 1, 'b'],
    ]);
    const rule = await alerts.makeRule('heartbeat', {
      warning: null,
      absent: 'critical',
      group_by: ['host'],
    });
    await alerts.evaluate(rule, 5);
    assert.deepEqual(await alerts.told(rule), ['firing critical']);
    assert.deepEqual((await alerts.incidents(rule))[0].labels, { host: 'b' });
    await alerts.evaluate(rule, 6);
    assert.deepEqual(await alerts.told(rule), ['resolved critical']);
  });

  it('shows why it fails, and changes nothing meanwhile', async () => {
    await alerts.gauge('failing', [[0, 15]]);
    const rule = await alerts.makeRule('failing');
    await alerts.evaluate(rule, 0);
    const query = { signal: 'metrics', metric: 'failing', agg: 'rate' };
    await alerts.postgres.query(
      `UPDATE alert_rules SET definition = jsonb_set(definition::jsonb, '{query}', $2)::json WHERE id = $1`,
      [rule, JSON.stringify(query)],
    );
    await alerts.gauge(
      'failing',
      [1, 2, 3, 4, 5, 6, 7].map((minute) => [minute, 5]),
    );
    for (const minute of [1, 2, 3, 4, 5, 6, 7]) await alerts.evaluate(rule, minute);
    const { state } = await alerts.ok('GET', `/rules/${rule}`);
    assert.equal(state.status, 'error');
    assert.match(state.error, /rate has no meaning/);
    assert.equal((await alerts.incidents(rule))[0].state, 'open');
    assert.deepEqual(await alerts.told(rule), ['error', 'firing warning']);
  });

  it('is made once for a tick, and never for one before the last', async () => {
    await alerts.gauge('once', [
      [0, 15],
      [1, 5],
      [2, 15],
    ]);
    const rule = await alerts.makeRule('once');
    await alerts.evaluate(rule, 2);
    assert.deepEqual(await alerts.evaluate(rule, 2), { skipped: 'done' });
    assert.deepEqual(await alerts.evaluate(rule, 1), { skipped: 'done' });
    assert.deepEqual(await alerts.told(rule), ['firing warning']);
  });

  it('by two workers at once opens one incident, told once', async () => {
    const other = alerts.anotherEvaluator();
    await alerts.gauge(
      'twice',
      Array.from({ length: 20 }, (_, minute) => [minute, minute % 2 ? 5 : 15] as [number, number]),
    );
    const rule = await alerts.makeRule('twice');
    for (let minute = 0; minute < 20; minute++)
      await Promise.all([alerts.evaluate(rule, minute), alerts.evaluate(rule, minute, other)]);
    const told = await alerts.told(rule);
    assert.equal(told.filter((what) => what === 'firing warning').length, 10);
    assert.equal(told.filter((what) => what === 'resolved warning').length, 10);
    assert.equal((await alerts.incidents(rule)).length, 10);
  });

  it('of two ticks at once leaves the state of the later one', async () => {
    await alerts.gauge('race', [
      [0, 15],
      [1, 5],
    ]);
    for (let i = 0; i < 5; i++) {
      const rule = await alerts.makeRule('race');
      await Promise.all([alerts.evaluate(rule, 0), alerts.evaluate(rule, 1, alerts.anotherEvaluator())]);
      assert.equal(await statusOf(rule), 'ok');
      for (const { state } of await alerts.incidents(rule)) assert.equal(state, 'resolved');
    }
  });

  it('is made at the newest tick when its job has waited for too long', async () => {
    await alerts.gauge('late', [
      [0, 15],
      [3, 5],
    ]);
    const rule = await alerts.makeRule('late');
    const { organizationId, workspaceId, tenantId } = alerts.scope;
    const ids = { organization_id: organizationId, workspace_id: workspaceId, tenant_id: tenantId };
    const payload = { ...ids, rule_id: rule, tick: alerts.tickAfter(0) };
    const { signal } = new AbortController();
    const evaluate = (nowMs: number) => alerts.evaluator.evaluate({ payload, attempt: 1, signal }, nowMs);
    // Three intervals later it fires no longer.
    assert.deepEqual(await evaluate(alerts.tickAfter(3) + 1000), { status: 'evaluated', groups: 1, told: 0 });
    assert.deepEqual(await alerts.evaluate(rule, 3), { skipped: 'done' });
    const other = await alerts.makeRule('late');
    payload.rule_id = other;
    // Two are not too long.
    assert.deepEqual(await evaluate(alerts.tickAfter(2)), { status: 'evaluated', groups: 1, told: 1 });
    assert.deepEqual(await alerts.incidents(rule), []);
  });

  it('by many at once is that of each by itself', async () => {
    await alerts.gauge('many', [
      [0, 15],
      [1, 5],
    ]);
    const rules: string[] = [];
    for (let i = 0; i < 30; i++) rules.push(await alerts.makeRule('many', { warning: i }));
    const evaluate = (minute: number) => Promise.all(rules.map((rule) => alerts.evaluate(rule, minute)));
    // One of another tenant is none of theirs, in whatever company.
    const elsewhere = alerts.evaluator.evaluate(
      {
        payload: {
          ...{ organization_id: randomUUID(), workspace_id: randomUUID(), tenant_id: randomUUID() },
          ...{ rule_id: rules[0], tick: alerts.tickAfter(0) },
        },
        ...{ attempt: 1, signal: new AbortController().signal },
      },
      alerts.tickAfter(0),
    );
    const told = (await evaluate(0)).map((result) => 'told' in result && result.told);
    assert.deepEqual(
      told,
      rules.map((_, i) => Number(15 > i)),
    );
    assert.deepEqual(await elsewhere, { skipped: 'not there' });
    await evaluate(1);
    for (const [i, rule] of rules.entries()) assert.equal(await statusOf(rule), 5 > i ? 'firing' : 'ok');
    assert.deepEqual(
      await evaluate(1),
      rules.map(() => ({ skipped: 'done' })),
    );
  });

  it('asks once for rules that ask the same', async () => {
    await alerts.gauge('shared', [[0, 15]]);
    const rules: string[] = [];
    for (let i = 0; i < 5; i++) rules.push(await alerts.makeRule('shared', { warning: i }));
    const before = alerts.measuring.queries;
    await Promise.all(rules.map((rule) => alerts.evaluate(rule, 0)));
    assert.equal(alerts.measuring.queries - before, 1);
  });

  it('is nothing for a rule that is off, paused or gone', async () => {
    const [off, paused] = [
      await alerts.makeRule('off', { enabled: false }),
      await alerts.makeRule('off', { paused: true }),
    ];
    assert.deepEqual(await alerts.evaluate(off, 0), { skipped: 'off' });
    assert.deepEqual(await alerts.evaluate(paused, 0), { skipped: 'off' });
    assert.deepEqual(await alerts.evaluate(randomUUID(), 0), { skipped: 'not there' });
  });
});

describe('Incidents', () => {
  const fire = async (metric: string, change: object = {}) => {
    await alerts.gauge(
      metric,
      Array.from({ length: 12 }, (_, minute) => [minute, 15] as [number, number]),
    );
    const rule = await alerts.makeRule(metric, change);
    await alerts.evaluate(rule, 0);
    const [{ id }] = await alerts.incidents(rule);
    return { rule, id };
  };

  it('remind of themselves until somebody has them', async () => {
    const { rule, id } = await fire('reminding', { reminder: '2m' });
    for (const minute of [1, 2, 3, 4]) await alerts.evaluate(rule, minute);
    assert.deepEqual(await alerts.told(rule), ['firing warning', 'reminder warning', 'reminder warning']);
    const { state, acknowledged_by } = await alerts.ok('POST', `/incidents/${id}/acknowledge`);
    assert.equal(state, 'acknowledged');
    assert.ok(acknowledged_by);
    for (const minute of [5, 6, 7, 8]) await alerts.evaluate(rule, minute);
    assert.deepEqual(await alerts.told(rule), ['acknowledged warning']);
    await alerts.ok('POST', `/incidents/${id}/acknowledge`);
    assert.deepEqual(await alerts.told(rule), []);
  });

  it('end by hand; what still holds makes another one', async () => {
    const { rule, id } = await fire('by hand');
    await alerts.told(rule);
    const ended = await alerts.ok('POST', `/incidents/${id}/resolve`);
    assert.equal(ended.state, 'resolved');
    assert.deepEqual(await alerts.told(rule), ['resolved warning']);
    assert.equal((await alerts.request('POST', `/incidents/${id}/resolve`)).status, 409);
    await alerts.evaluate(rule, 1);
    const incidents = await alerts.incidents(rule);
    assert.deepEqual(
      incidents.map(({ state }: { state: string }) => state),
      ['resolved', 'open'],
    );
    assert.equal(incidents[1].number, incidents[0].number + 1);
  });

  it('of a group that ended are not told again before the cooldown is over', async () => {
    await alerts.gauge('cooling', [
      [0, 15],
      [1, 5],
      [2, 15],
      [3, 15],
      [4, 15],
      [5, 15],
    ]);
    const rule = await alerts.makeRule('cooling', { cooldown: '3m' });
    const told: string[][] = [];
    for (const minute of [0, 1, 2, 3, 4, 5]) {
      await alerts.evaluate(rule, minute);
      told.push(await alerts.told(rule));
    }
    assert.deepEqual(told, [['firing warning'], ['resolved warning'], [], [], ['firing warning'], []]);
    assert.equal((await alerts.incidents(rule)).length, 2);
  });

  it('that are silenced begin, and are told when the silence is over', async () => {
    const iso = (minute: number) => new Date(alerts.tickAfter(minute)).toISOString();
    const matchers = [{ label: 'team', operator: '=', value: 'pay*' }];
    const silence = { matchers, comment: 'deploy', starts_at: iso(0), ends_at: iso(3) };
    await alerts.ok('POST', '/silences', silence);
    const { rule } = await fire('silenced', { labels: { team: 'payments' } });
    const { rule: other } = await fire('not silenced', { labels: { team: 'shop' } });
    assert.deepEqual(await alerts.told(other), ['firing warning']);
    await alerts.evaluate(rule, 1);
    await alerts.evaluate(rule, 2);
    assert.deepEqual(await alerts.told(rule), []);
    assert.equal((await alerts.incidents(rule))[0].state, 'open');
    await alerts.evaluate(rule, 3);
    assert.deepEqual(await alerts.told(rule), ['firing warning']);
  });

  it('end with their rule, and when it asks for something else', async () => {
    const { rule } = await fire('changing');
    await alerts.ok('PATCH', `/rules/${rule}`, { warning: 12 });
    assert.equal((await alerts.incidents(rule))[0].state, 'open');
    await alerts.ok('PATCH', `/rules/${rule}`, { window: '2m' });
    assert.equal((await alerts.incidents(rule))[0].resolved_by, 'rule');
    await alerts.evaluate(rule, 1);
    await alerts.told(rule);
    await alerts.ok('DELETE', `/rules/${rule}`);
    assert.deepEqual(await alerts.told(rule), ['resolved warning']);
    const states = (await alerts.incidents(rule)).map(({ state }: { state: string }) => state);
    assert.deepEqual(states, ['resolved', 'resolved']);
  });

  it('are found by state, severity, label and time', async () => {
    const { rule, id } = await fire('found', { labels: { team: 'found' } });
    const find = async (query: string) =>
      (await alerts.ok('GET', `/incidents?rule_id=${rule}&${query}`)).data.map(
        (one: { id: string }) => one.id,
      );
    assert.deepEqual(await find('state=open&severity=warning&label=team=found'), [id]);
    assert.deepEqual(await find('state=resolved'), []);
    assert.deepEqual(await find('severity=critical'), []);
    assert.deepEqual(await find('label=team=lost'), []);
    assert.deepEqual(await find('from=now-1h'), []);
    assert.deepEqual(await find('to=now-1h'), [id]);
  });

  it('are another tenant’s business for nobody', async () => {
    const { rule, id } = await fire('ours');
    const silence = await alerts.ok('POST', '/silences', {
      matchers: [{ label: 'rule', operator: '=', value: 'nothing' }],
      comment: 'x',
      ends_at: new Date(Date.now() + MINUTE).toISOString(),
    });
    const as = 'stranger';
    const ways: ['GET' | 'POST' | 'PATCH' | 'DELETE', string, object?][] = [
      ['GET', `/rules/${rule}`],
      ['PATCH', `/rules/${rule}`, { warning: 1 }],
      ['DELETE', `/rules/${rule}`],
      ['POST', `/rules/${rule}/test`, {}],
      ['GET', `/incidents/${id}`],
      ['POST', `/incidents/${id}/acknowledge`],
      ['POST', `/incidents/${id}/resolve`],
      ['GET', `/silences/${silence.id}`],
      ['DELETE', `/silences/${silence.id}`],
    ];
    for (const [method, path, body] of ways)
      assert.equal((await alerts.request(method, path, body, as)).status, 404, `${method} ${path}`);
    for (const path of ['/rules', '/incidents', '/silences'])
      assert.deepEqual((await alerts.request('GET', path, undefined, as)).body.data, []);
    const body = { name: 'x', query: { signal: 'logs' }, warning: 1, channels: [alerts.channelId] };
    assert.equal((await alerts.request('POST', '/rules', body, as)).status, 400, 'nor their channels');
    assert.equal((await alerts.request('POST', `/incidents/${id}/resolve`, undefined, 'viewer')).status, 403);
  });
});

describe('A rule tried over the past', () => {
  it('tells what it would have done, and nobody', async () => {
    // 30 and 31, 40 to 49: fires twice, once for less than three minutes.
    const high = new Set([30, 31, ...Array.from({ length: 10 }, (_, i) => 40 + i)]);
    const points = Array.from(
      { length: 170 },
      (_, minute) => [minute, high.has(minute) ? 15 : 5] as [number, number],
    );
    await alerts.gauge('tried', points);
    const rule = {
      name: 'tried',
      query: { signal: 'metrics', metric: 'tried', agg: 'max' },
      window: '1m',
      warning: 10,
    };
    const { result, other_for, groups, evaluated_every, failed } = await alerts.ok('POST', '/rules/test', {
      rule,
      hours: 3,
    });
    assert.equal(evaluated_every, 60);
    assert.equal(failed, 0);
    // A window may hold points of two minutes, as the test begins when it begins: a firing minute more.
    assert.equal(result.fired, 2);
    assert.equal(result.notifications, 4);
    assert.equal(result.under_three_minutes, 1);
    assert.equal(result.open, 0);
    assert.equal(result.longest_seconds, 600);
    const five = other_for.find((one: { for: string }) => one.for === '5m');
    assert.equal(five.fired, 1);
    assert.equal(five.longest_seconds, 300);
    assert.equal(groups.length, 1);
    assert.deepEqual(
      groups[0].changes.map(([, name]: [number, string]) => name),
      ['warning', 'inactive', 'warning', 'inactive'],
    );
    const kept = await alerts.makeRule('tried');
    assert.equal((await alerts.ok('POST', `/rules/${kept}/test`, { hours: 3 })).result.fired, 2);
    assert.deepEqual(await alerts.incidents(kept), []);
  });

  it('says why it could not be', async () => {
    await alerts.gauge('wrong', [[100, 5]]);
    const rule = { name: 'w', query: { signal: 'metrics', metric: 'wrong', agg: 'rate' }, warning: 1 };
    const { failed, error } = await alerts.ok('POST', '/rules/test', { rule, hours: 3 });
    assert.ok(failed > 0);
    assert.match(error, /rate has no meaning/);
  });
});

describe('A rule', () => {
  it('is kept as it was given, with what it left out', async () => {
    const given = {
      name: 'kept',
      query: { signal: 'traces', figure: 'p95', service: ['shop'] },
      critical: 250,
    };
    const rule = await alerts.ok('POST', '/rules', given);
    const { id, state, created_by, created_at, updated_at, ...definition } = await alerts.ok(
      'GET',
      `/rules/${rule.id}`,
    );
    assert.equal(state.status, 'unknown');
    assert.equal(definition.for, '0s');
    assert.equal(definition.evaluation_delay, '2s');
    const again = await alerts.ok('POST', '/rules', { ...definition, name: 'kept again' });
    assert.deepEqual({ ...again, name: 'kept' }.query, given.query);
    assert.equal((await alerts.request('POST', '/rules', { ...given, name: 'KEPT' })).status, 409);
    const { data } = await alerts.ok('GET', '/rules?name=ept%20ag');
    assert.deepEqual(
      data.map((one: { name: string }) => one.name),
      ['kept again'],
    );
  });

  it('that is wrong is refused, with the field that is', async () => {
    const good = { name: 'good', query: { signal: 'logs' }, warning: 1 };
    const wrongs: [object, string][] = [
      [{ warning: null }, 'warning'],
      [{ window: '5 minutes' }, 'window'],
      [{ interval: '1s' }, 'interval'],
      [{ query: { signal: 'logs', metric: 'x' } }, 'query.metric'],
      [{ query: { signal: 'nothing' } }, 'query.signal'],
      [{ query: { signal: 'metrics', metric: 'x', agg: 'mean' } }, 'query.agg'],
      [{ operator: '=>' }, 'operator'],
      [{ critical: 0.5 }, 'critical'],
      [{ absent: 'critical' }, 'absent'],
      [{ channels: [randomUUID()] }, 'channels'],
      [{ no_data: 'zero' }, 'no_data'],
      [{ nonsense: 1 }, 'nonsense'],
      [{ reminder: '10s' }, 'reminder'],
    ];
    for (const [change, field] of wrongs) {
      const { status, body } = await alerts.request('POST', '/rules', { ...good, ...change });
      assert.equal(status, 400, field);
      assert.equal(body.details[0].field, field);
    }
    assert.equal((await alerts.request('POST', '/rules', good)).status, 201);
    assert.equal((await alerts.request('POST', '/rules', good, 'viewer')).status, 403);
  });
});
