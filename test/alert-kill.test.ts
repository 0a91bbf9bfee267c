import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { openPostgres } from '../src/connections/postgres.js';
import type { AlertFailpoint, DeliveryFailpoint } from '../src/failpoints.js';
import { GaugeSender } from './support/gauge-sender.js';
import { bearer, succeed } from './support/neighbours.js';
import { HttpReceiver } from './support/receivers.js';
import { makeDataDir, Server, type StartFailed } from './support/server.js';
import { found } from './support/until.js';

const SETTINGS = { NOTIFY_ALLOW_NETWORKS: '127.0.0.1', SECRET_KEY: 'a key of this test that is long enough' };
/** An interval, the sweeper's look and a start, on a machine that does much else. */
const MAX_WAIT_MS = 90_000;
const TOGETHER = 2;

interface Case {
  /** What the receiver answers first; then 200. */
  answers?: [status: number, headers: Record<string, string>];
  /** The kill loses the job that tells it: the sweeper makes another when it has been missing for a minute. */
  isJobLost?: boolean;
  /** How often the receiver is told, under one id. */
  told: number;
}
const BUSY: Case['answers'] = [429, { 'retry-after': '2' }];

/** Every step of the flow that has a name: a new one does not compile without its case. */
const CASES: Record<AlertFailpoint | DeliveryFailpoint, Case> = {
  'alert-written': { told: 1 },
  'alert-committed': { isJobLost: true, told: 1 },
  'alert-told': { told: 1 },
  'delivery-claimed': { told: 1 },
  'delivery-sent': { told: 2 },
  'delivery-noted': { told: 1 },
  'delivery-released': { answers: [500, {}], told: 2 },
  'delivery-deferred': { answers: BUSY, isJobLost: true, told: 2 },
  'delivery-postponed': { answers: BUSY, told: 2 },
};

interface Incident {
  id: string;
  timeline: { kind: string; outcome: string | null }[];
}

let receiver: HttpReceiver;
/** Answers still to be given that are not 200, by path. */
const answers = new Map<string, Case['answers']>();
before(async () => {
  receiver = await HttpReceiver.start();
  receiver.answering = (response, { path }) => {
    const [status, headers] = answers.get(path) ?? [200, {}];
    answers.delete(path);
    response.writeHead(status, headers).end();
  };
});
after(() => receiver.close());

async function makeRule(server: Server, step: string): Promise<string> {
  const post = (path: string, body: object) =>
    succeed<{ id: string }>(server, 'POST', path, bearer(server.key), body);
  const settings = { url: receiver.url(`/${step}`) };
  const channel = await post('notification-channels', { name: step, kind: 'webhook', settings });
  const query = { signal: 'metrics', metric: step, agg: 'last' };
  const rule = { name: step, query, warning: 10, interval: '10s', window: '10s', channels: [channel.id] };
  return (await post('alerts/rules', rule)).id;
}

/** What the sweeper waits for is over. */
async function age(dataDir: string): Promise<void> {
  const postgres = await openPostgres({ DATA_DIR: dataDir, DATABASE_URL: undefined });
  await postgres.query(`UPDATE notification_deliveries
    SET updated_at = updated_at - interval '5 minutes', due_at = due_at - interval '5 minutes'`);
  await postgres.close();
}

async function incidentOf(server: Server, ruleId: string): Promise<Incident | undefined> {
  const get = <T>(path: string) => succeed<T>(server, 'GET', path, bearer(server.key));
  const { data } = await get<{ data: { id: string }[] }>(`alerts/incidents?rule_id=${ruleId}`);
  assert.ok(data.length <= 1, 'there is one incident');
  return data.length === 1 ? get<Incident>(`alerts/incidents/${data[0].id}`) : undefined;
}

describe('An alert whose process is killed', { concurrency: TOGETHER }, () => {
  for (const [step, { answers: first, isJobLost, told }] of Object.entries(CASES))
    it(`at ${step} is one incident, told under one id, ${told === 1 ? 'once' : 'twice'}`, async () => {
      const dataDir = makeDataDir();
      const path = `/${step}`;
      if (first) answers.set(path, first);
      const sender = new GaugeSender(step);
      const doomed = await Server.start(dataDir, { ...SETTINGS, FAILPOINT: step });
      const rule = await makeRule(doomed, step);
      sender.send(doomed, 15);
      await found('it is killed', MAX_WAIT_MS, () => (doomed.program.isRunning ? undefined : true));
      sender.stop();
      assert.equal((await doomed.program.exited).signal, 'SIGKILL');
      if (isJobLost) await age(dataDir);

      const next = await Server.start(dataDir, SETTINGS).catch((error: StartFailed) =>
        assert.fail(error.output),
      );
      sender.send(next, 15);
      const tellings = await found('it is told', MAX_WAIT_MS, async () => {
        const incident = await incidentOf(next, rule);
        const events = incident?.timeline.filter(({ kind }) => kind === 'told') ?? [];
        return events.some(({ outcome }) => outcome === 'all_sent') ? events : undefined;
      });
      sender.stop();
      assert.equal(tellings.length, 1);
      const ids = receiver.received
        .filter((request) => request.path === path)
        .map(({ headers }) => headers['webhook-id']);
      assert.equal(ids.length, told);
      assert.equal(new Set(ids).size, 1);
      await next.stop();
    });
});
