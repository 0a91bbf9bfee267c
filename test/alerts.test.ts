import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { GaugeSender } from './support/gauge-sender.js';
import { bearer, succeed } from './support/neighbours.js';
import { HttpReceiver } from './support/receivers.js';
import { makeDataDir, Program, Server } from './support/server.js';

const SETTINGS = { NOTIFY_ALLOW_NETWORKS: '127.0.0.1', SECRET_KEY: 'a key of this test that is long enough' };
const MAX_WAIT_MS = 60_000;

interface Notice {
  id: string;
  kind: string;
  rule: { name: string };
  incidents: { id: string; url?: string; value: number | null; labels: Record<string, string> }[];
}
let receiver: HttpReceiver;
const sender = new GaugeSender('depth');
before(async () => {
  receiver = await HttpReceiver.start();
});
after(async () => {
  sender.stop();
  await receiver.close();
});

const notices = (name: string) => (receiver.bodies() as Notice[]).filter(({ rule }) => rule.name === name);

async function wait<T>(what: string, look: () => Promise<T | undefined> | T | undefined): Promise<T> {
  for (const deadline = Date.now() + MAX_WAIT_MS; ; await sleep(50)) {
    const found = await look();
    if (found !== undefined) return found;
    assert.ok(Date.now() < deadline, what);
  }
}

async function makeRule(server: Server, name: string, change: object = {}): Promise<string> {
  const channel = { name, kind: 'webhook', settings: { url: receiver.url() } };
  const post = (path: string, body: object) =>
    succeed<{ id: string }>(server, 'POST', path, bearer(server.key), body);
  const channels = [(await post('notification-channels', channel)).id];
  const query = { signal: 'metrics', metric: name, agg: 'last' };
  const rule = { name, query, warning: 10, interval: '10s', window: '10s', channels, ...change };
  return (await post('alerts/rules', rule)).id;
}

describe('Alerts in the program', { concurrency: false }, () => {
  it('are told when the data breaks their rule, and when it is fine again', async () => {
    const server = await Server.start(makeDataDir(), { ...SETTINGS, PUBLIC_URL: 'https://tf.example/' });
    await makeRule(server, 'depth', { group_by: ['service_name'] });
    sender.send(server, 5);
    await sleep(1000);
    assert.deepEqual(notices('depth'), []);
    const brokenAt = performance.now();
    sender.send(server, 15);
    const [firing] = await wait('it is told that it fires', () =>
      notices('depth').length > 0 ? notices('depth') : undefined,
    );
    const toldAt = performance.now();
    assert.equal(firing.kind, 'firing');
    assert.equal(firing.incidents[0].value, 15);
    assert.deepEqual(firing.incidents[0].labels, { service_name: 'shop' });
    const path = `/api/v1/alerts/incidents/${firing.incidents[0].id}`;
    assert.equal(firing.incidents[0].url, `https://tf.example${path}`);
    await succeed(server, 'GET', path.replace('/api/v1/', ''), bearer(server.key));
    sender.send(server, 5);
    const resolved = await wait('it is told that it is over', () => notices('depth')[1]);
    console.log(
      `# fired ${((toldAt - brokenAt) / 1000).toFixed(1)} s after the data, resolved after ${((performance.now() - toldAt) / 1000).toFixed(1)} s; interval and window 10 s`,
    );
    assert.equal(resolved.kind, 'resolved');
    assert.equal(resolved.incidents[0].id, firing.incidents[0].id);
    sender.stop();
    const figures = await wait('both messages are counted', async () => {
      const text = await (await fetch(`${server.api}/metrics`)).text();
      return text.includes('deliveries_total{kind="webhook",result="sent"} 2\n') ? text : undefined;
    });
    assert.match(figures, /^telemetryflow_alert_rules\{state="ok"\} 1$/m);
    assert.match(figures, /^telemetryflow_alert_incidents_open\{severity="warning"\} 0$/m);
    assert.match(figures, /^telemetryflow_alert_evaluations_total\{result="evaluated"\} \d+$/m);
    await server.stop();
  });

  it('can be tested, exported and imported from the command line', async () => {
    const dataDir = makeDataDir();
    const server = await Server.start(dataDir, SETTINGS);
    const folder = join(dataDir, 'rules');
    const run = async (...args: string[]) => {
      const program = new Program(['alerts', ...args], { DATA_DIR: dataDir });
      const { code } = await program.exited;
      return { code, ...{ stdout: program.stdout, stderr: program.stderr } };
    };
    const id = await makeRule(server, 'from the API');
    const exported = await run('export', folder);
    assert.equal(exported.code, 0, exported.stderr);
    const file = join(folder, 'from-the-api.yaml');
    const yaml = readFileSync(file, 'utf8');
    assert.match(yaml, /^name: from the API$/m);
    writeFileSync(file, yaml.replace('warning: 10', 'warning: 12').replace(/^(interval|paused): .*\n/gm, ''));
    await succeed(server, 'PATCH', `alerts/rules/${id}`, bearer(server.key), { paused: true });
    const other = join(folder, 'other.yaml');
    writeFileSync(other, 'name: other\nquery: {signal: logs, min_severity: error}\nwarning: 5\nfor: 5m\n');
    assert.equal((await run('import', file, other)).code, 0);
    const { warning, interval, paused } = await succeed<Record<string, unknown>>(
      server,
      'GET',
      `alerts/rules/${id}`,
      bearer(server.key),
    );
    // What was taken out of the file is as in a new rule; who paused it did not do so there.
    assert.deepEqual([warning, interval, paused], [12, '1m', true]);
    const tested = await run('test', other, '--hours', '1');
    assert.equal(tested.code, 0, tested.stderr);
    assert.match(tested.stdout, /other: 60 evaluations, one each 60 s/);
    writeFileSync(other, 'name: other\nquery: {signal: logs}\nwarnings: 5\n');
    const wrong = await run('test', other);
    assert.equal(wrong.code, 1);
    assert.match(wrong.stderr, /warnings/);
    await server.stop();
  });

  it('name their channels in files, which are understood wherever channels have these names', async () => {
    const dataDir = makeDataDir();
    const server = await Server.start(dataDir, SETTINGS);
    const folder = join(dataDir, 'rules');
    const alerts = async (...args: string[]) => {
      const program = new Program(['alerts', ...args], { DATA_DIR: dataDir });
      const { code } = await program.exited;
      return { code, stderr: program.stderr };
    };
    const id = await makeRule(server, 'on call');
    const channelsOf = async () =>
      (await succeed<{ channels: string[] }>(server, 'GET', `alerts/rules/${id}`, bearer(server.key)))
        .channels;
    const [channel] = await channelsOf();
    assert.equal((await alerts('export', folder)).code, 0);
    const file = join(folder, 'on-call.yaml');
    const yaml = readFileSync(file, 'utf8');
    assert.match(yaml, /^channels:\n {2}- on call$/m);
    assert.ok(!yaml.includes(channel));
    const naming = (name: string) => writeFileSync(file, yaml.replace('- on call', `- ${name}`));
    for (const name of ['ON call', channel]) {
      await succeed(server, 'PATCH', `alerts/rules/${id}`, bearer(server.key), { channels: [] });
      naming(name);
      const imported = await alerts('import', file);
      assert.equal(imported.code, 0, imported.stderr);
      assert.deepEqual(await channelsOf(), [channel]);
    }
    naming('nobody');
    for (const verb of ['import', 'test']) {
      const { code, stderr } = await alerts(verb, file);
      assert.equal(code, 1);
      assert.match(
        stderr,
        /on-call\.yaml: channels: there is no notification channel "nobody" here\. There are: "on call"\./,
      );
    }
    const confusing = { name: channel, kind: 'webhook', settings: { url: receiver.url() } };
    await succeed(server, 'POST', 'notification-channels', bearer(server.key), confusing);
    naming(channel);
    const { code, stderr } = await alerts('import', file);
    assert.equal(code, 1);
    assert.match(stderr, /is the id of one channel and the name of another/);
    await server.stop();
  });
});
