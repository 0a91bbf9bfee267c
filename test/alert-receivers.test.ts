import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { GaugeSender } from './support/gauge-sender.js';
import { bearer, succeed } from './support/neighbours.js';
import { HttpReceiver, MailReceiver } from './support/receivers.js';
import { makeDataDir, Server } from './support/server.js';
import { found } from './support/until.js';

/** Two intervals of a default rule and five tries, with their pauses. */
const MAX_WAIT_MS = 200_000;
const INTERVAL_MS = 60_000;
/** `evaluation_delay`: the window ends so long before the tick. */
const DELAY_MS = 2000;

interface Incident {
  id: string;
  state: string;
  started_at: string;
  timeline: {
    at: string;
    kind: string;
    notice_id: string;
    notice_kind: string | null;
    outcome: string | null;
  }[];
}
interface Delivery {
  channel_name: string;
  state: string;
  attempts: number;
  last_status: number | null;
}

/** What receivers answer first, by path; then 200, or, where there is but one, always that. `hang`: nothing. */
const ANSWERS: Record<
  string,
  { first: (number | 'hang')[]; always?: number; headers?: Record<string, string> }
> = {
  steady: { first: [] },
  flaky: { first: [500, 503] },
  busy: { first: [429], headers: { 'retry-after': '4' } },
  hanging: { first: ['hang'] },
  missing: { first: [], always: 404 },
  broken: { first: [], always: 500 },
};
/** [state, tries, status] of the delivery of the first notice. */
const EXPECTED: Record<string, [string, number, number]> = {
  steady: ['sent', 1, 200],
  flaky: ['sent', 3, 200],
  busy: ['sent', 2, 200],
  hanging: ['sent', 2, 200],
  missing: ['failed', 1, 404],
  broken: ['failed', 5, 500],
  mail: ['sent', 2, 250],
};

describe('A default rule in the program, with receivers of all kinds', { concurrency: false }, () => {
  const sender = new GaugeSender('depth');
  let server: Server;
  let receiver: HttpReceiver;
  let mails: MailReceiver;
  /** When a receiver was asked for the first notice, by its name, and under which id. */
  const asked = new Map<string, { atMs: number; id: unknown }[]>();
  let channels: string[];

  before(async () => {
    receiver = await HttpReceiver.start();
    receiver.answering = (response, { path, headers, body }) => {
      const name = path.slice(1);
      const { first, always = 200, headers: more = {} } = ANSWERS[name];
      if (JSON.parse(body).kind !== 'firing') return response.writeHead(always).end();
      const times = asked.get(name) ?? [];
      asked.set(name, [...times, { atMs: performance.now(), id: headers['webhook-id'] }]);
      const status = first[times.length] ?? always;
      if (status !== 'hang') response.writeHead(status, status === 200 ? {} : more).end('not shown');
    };
    let refused = 0;
    mails = await MailReceiver.start({
      onMailFrom: (_, __, callback) =>
        callback(refused++ === 0 ? Object.assign(new Error('not now'), { responseCode: 451 }) : null),
    });
    const env = { NOTIFY_ALLOW_NETWORKS: '127.0.0.1', SECRET_KEY: 'a key of this test that is long enough' };
    server = await Server.start(makeDataDir(), env);
    const mail = { host: '127.0.0.1', port: mails.port, security: 'none' };
    const addresses = { from: 'alerts@acme.example', to: ['a@acme.example'] };
    const settings: [string, string, object][] = [
      ...Object.keys(ANSWERS).map((name): [string, string, object] => [
        name,
        'webhook',
        { url: receiver.url(`/${name}`) },
      ]),
      ['mail', 'email', { ...mail, ...addresses }],
    ];
    channels = [];
    for (const [name, kind, given] of settings)
      channels.push(
        (await post<{ id: string }>('notification-channels', { name, kind, settings: given })).id,
      );
  });
  after(async () => {
    sender.stop();
    await server.stop();
    await Promise.all([receiver.close(), mails.close()]);
  });

  const get = <T>(path: string) => succeed<T>(server, 'GET', path, bearer(server.key));
  const post = <T>(path: string, body: object) => succeed<T>(server, 'POST', path, bearer(server.key), body);
  const wait = <T>(what: string, look: () => Promise<T | undefined>) => found(what, MAX_WAIT_MS, look);
  /** Sends the value from now on. @returns when whoever asks saw it, Unix milliseconds */
  async function see(value: number): Promise<number> {
    sender.send(server, value);
    await wait(`${value} is seen`, async () => {
      const { series } = await get<{ series: { points: [number, number][] }[] }>(
        'metrics/query?metric=depth&agg=last&step=1&from=now-20s',
      );
      return series[0]?.points.at(-1)?.[1] === value ? true : undefined;
    });
    return Date.now();
  }
  const incidentWhen = (ruleId: string, isIt: (one: Incident) => boolean) =>
    wait('the incident is as it should be', async () => {
      const { data } = await get<{ data: Incident[] }>(`alerts/incidents?rule_id=${ruleId}`);
      if (!data[0]) return undefined;
      const incident = await get<Incident>(`alerts/incidents/${data[0].id}`);
      return isIt(incident) ? incident : undefined;
    });

  it('fires and resolves at the tick after the data, and each receiver is told as it lets itself be told', async () => {
    await see(5);
    const query = { signal: 'metrics', metric: 'depth', agg: 'last' };
    const { id: rule } = await post<{ id: string }>('alerts/rules', {
      name: 'd',
      query,
      warning: 10,
      channels,
    });
    const brokenMs = await see(15);
    const { started_at } = await incidentWhen(rule, () => true);
    console.log(`# known ${((Date.now() - brokenMs) / 1000).toFixed(1)} s after the data that breaks it`);
    // The tick itself, whenever this machine got to it.
    assert.ok(Date.parse(started_at) - brokenMs <= INTERVAL_MS + DELAY_MS, started_at);

    const fineMs = await see(5);
    const ended = await incidentWhen(rule, ({ state }) => state === 'resolved');
    const resolved = ended.timeline.find(({ kind }) => kind === 'resolved')!;
    console.log(`# resolved ${((Date.now() - fineMs) / 1000).toFixed(1)} s after the data that is fine`);
    assert.ok(Date.parse(resolved.at) - fineMs <= INTERVAL_MS + DELAY_MS, resolved.at);

    const told = await wait('each channel has ended', async () => {
      const { timeline } = await get<Incident>(`alerts/incidents/${ended.id}`);
      const firing = timeline.find(({ notice_kind }) => notice_kind === 'firing');
      return firing?.outcome === 'pending' ? undefined : firing;
    });
    assert.equal(told.outcome, 'some_failed');
    const { data } = await get<{ data: Delivery[] }>(`notification-deliveries?notice_id=${told.notice_id}`);
    const standing = data.map(({ channel_name, state, attempts, last_status }) => [
      channel_name,
      [state, attempts, last_status],
    ]);
    assert.deepEqual(Object.fromEntries(standing), EXPECTED);
    assert.match(mails.mails[0].source, /^Subject: Firing \(warning\): d\r$/m);
  });

  it('are tried again after 3 s and twice that each time, or when they say, under the same id', () => {
    const pauses = (name: string) => {
      const times = asked.get(name)!.map(({ atMs }) => atMs);
      return times.slice(1).map((atMs, i) => (atMs - times[i]) / 1000);
    };
    const least = { flaky: [3, 6], busy: [4], hanging: [13], broken: [3, 6, 12, 24] };
    for (const [name, seconds] of Object.entries(least)) {
      const taken = pauses(name);
      assert.equal(taken.length, seconds.length, name);
      // A timer may be a hair early.
      for (const [i, pause] of taken.entries()) assert.ok(pause > seconds[i] - 0.1, `${name}: ${taken}`);
      assert.equal(new Set(asked.get(name)!.map(({ id }) => id)).size, 1, name);
    }
    assert.equal(asked.get('steady')!.length, 1);
  });
});
