import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Writable } from 'node:stream';
import { after, before, beforeEach, describe, it } from 'node:test';
import pino from 'pino';
import { Registry } from 'prom-client';
import { makeOrganization, openAccessDatabase } from '../../test/support/access-database.js';
import { makeIncident, makeNotice } from '../../test/support/notices.js';
import { HttpReceiver } from '../../test/support/receivers.js';
import type { Postgres } from '../connections/postgres.js';
import type { Scope } from '../edge/scope.js';
import { PermanentError } from '../errors.js';
import type { JobQueue, JobQueues, NewJob } from '../jobs/job-queue.js';
import { addDeliveries, firstJobs, outcomesOf, pendingDeliveries } from '../notices/deliveries.js';
import { DeliveryMetrics } from '../notices/delivery-metrics.js';
import type { Notice } from '../notices/notice.js';
import { Outside } from '../outbound/outside.js';
import { SecretBox } from '../secret-box.js';
import { insertChannel } from './channel-rows.js';
import type { KindName } from './channel-settings.js';
import { DeliveryWorker } from './delivery.worker.js';

const folder = mkdtempSync(join(tmpdir(), 'tf-deliveries-'));
const box = new SecretBox(Buffer.from('a key of this test that is long enough'));
const HUSH = 'hush-hush';
const TRIES = 5;
let postgres: Postgres;
let scope: Scope;
let theirs: Scope;
let receiver: HttpReceiver;
let parts: ConstructorParameters<typeof DeliveryWorker>[0];
let worker: DeliveryWorker;
/** It waits for nobody. */
let hasty: DeliveryWorker;
const registry = new Registry();
let log = '';
/** Jobs that the worker has added. */
const added: NewJob<unknown>[] = [];
const queues: Pick<JobQueues, 'addAll'> = {
  addAll: async <P>(_: JobQueue<P>, jobs: readonly NewJob<P>[]) => {
    added.push(...jobs);
    return jobs.map(({ id = '' }) => ({ id, isNew: true }));
  },
};

before(async () => {
  ({ postgres, scope } = await openAccessDatabase(folder));
  const other = await makeOrganization(postgres, 'theirs', 1);
  theirs = { ...scope, organizationId: other.organizationId, tenantId: other.tenantIds[0] };
  receiver = await HttpReceiver.start();
  const sink = new Writable({
    write: (chunk, _, done) => {
      log += chunk;
      done();
    },
  });
  parts = {
    outside: new Outside({ allowNetworks: ['127.0.0.1'] }),
    source: postgres.dataSource,
    box,
    queues,
    log: pino({ level: 'trace' }, sink),
    metrics: new DeliveryMetrics(registry),
    tries: TRIES,
    publicUrl: undefined,
  };
  worker = new DeliveryWorker(parts);
  hasty = new DeliveryWorker({
    ...parts,
    outside: new Outside({ allowNetworks: ['127.0.0.1'], maxSendMs: 500 }),
  });
});
after(async () => {
  await postgres.close();
  await receiver.close();
  rmSync(folder, { recursive: true, force: true });
});
beforeEach(() => {
  receiver.received.length = 0;
  receiver.answering = (response) => response.end('ok');
  added.length = 0;
  log = '';
});

async function makeChannel(kind: KindName = 'slack', path = `/${HUSH}`, of = scope): Promise<string> {
  const id = randomUUID();
  const settings = {
    url: receiver.url(path),
    ...(kind === 'webhook' ? { secret: `${HUSH} ${'x'.repeat(20)}` } : {}),
  };
  const channel = { id, name: `${kind} ${id}`, kind, enabled: true, settings, createdBy: 'test' };
  await postgres.dataSource.transaction((manager) => insertChannel(of, manager, box, channel));
  return id;
}

/** A notice to these channels. */
async function tell(
  channelIds: string[],
  notice = makeNotice({ id: randomUUID() }),
  of = scope,
): Promise<string[]> {
  return postgres.dataSource.transaction((manager) => addDeliveries(manager, of, notice, channelIds));
}

const NEVER = new AbortController().signal;
const run = (id: string, jobId = id, signal = NEVER, by = worker) =>
  by.deliver({ id: jobId, payload: { delivery_id: id }, signal });

interface Row {
  state: string;
  attempts: number;
  last_status: number | null;
  last_error: string | null;
  notice_id: string;
}
const rowOf = async (id: string): Promise<Row> =>
  (await postgres.query<Row>('SELECT * FROM notification_deliveries WHERE id = $1', [id]))[0];
const standing = async (id: string) => {
  const { state, attempts, last_status, last_error } = await rowOf(id);
  return [state, attempts, last_status, last_error];
};

describe('Deliveries', () => {
  it('are written with the change that they tell, or not at all', async () => {
    const channel = await makeChannel();
    const notice = makeNotice({ id: randomUUID() });
    const undone = postgres.dataSource.transaction(async (manager) => {
      assert.equal((await addDeliveries(manager, scope, notice, [channel])).length, 1);
      throw new Error('undone');
    });
    await assert.rejects(undone, /undone/);
    assert.equal((await outcomesOf(scope, postgres.dataSource, [notice.id])).size, 0);
  });

  it('are one for each channel, however often the same is written', async () => {
    const channels = [await makeChannel(), await makeChannel('discord')];
    const notice = makeNotice({ id: randomUUID() });
    const first = await tell([...channels, channels[0]], notice);
    const again = await tell(channels, notice);
    assert.equal(first.length, 2);
    assert.deepEqual([...again].sort(), [...first].sort());
  });

  it('go to channels of the tenant that are turned on, and to no others', async () => {
    const [mine, off, foreign] = [
      await makeChannel(),
      await makeChannel(),
      await makeChannel('slack', '/', theirs),
    ];
    await postgres.query('UPDATE notification_channels SET enabled = false WHERE id = $1', [off]);
    const ids = await tell([mine, off, foreign, randomUUID()]);
    assert.equal(ids.length, 1);
    const { notice_id } = await rowOf(ids[0]);
    const outcomes = await outcomesOf(scope, postgres.dataSource, [notice_id]);
    assert.deepEqual(
      outcomes.get(notice_id)?.channels.map(({ channel_id }) => channel_id),
      [mine],
    );
    assert.equal((await outcomesOf(theirs, postgres.dataSource, [notice_id])).size, 0);
    assert.deepEqual(await tell([]), []);
  });

  it('are of notices that are ones', async () => {
    const channel = await makeChannel();
    await assert.rejects(() => tell([channel], { ...makeNotice(), summary: 5 } as never), /summary/);
    await assert.rejects(() => tell([channel], { ...makeNotice(), more: 1 } as never), /more/);
  });
});

describe('A delivery', () => {
  it('is sent, once, and knows with which status', async () => {
    const [id] = await tell([await makeChannel()]);
    assert.deepEqual(await standing(id), ['pending', 0, null, null]);
    assert.deepEqual(await run(id), { state: 'sent', status: 200 });
    assert.deepEqual(await standing(id), ['sent', 1, 200, null]);
    assert.deepEqual(await run(id), { state: 'skipped' });
    assert.deepEqual(await run(id, `${id}.0`), { state: 'skipped' });
    assert.equal(receiver.received.length, 1);
  });

  it('carries the same id at each try, and another one to each channel', async () => {
    const channels = [await makeChannel('webhook'), await makeChannel('webhook')];
    const ids = await tell(channels);
    receiver.answer(500);
    for (const id of ids) for (let tries = 0; tries < 2; tries++) await assert.rejects(() => run(id));
    const keys = receiver.received.map(({ headers }) => headers['idempotency-key']);
    const { notice_id } = await rowOf(ids[0]);
    assert.deepEqual([keys[0], keys[2]], [keys[1], keys[3]]);
    assert.deepEqual([...new Set(keys)].sort(), channels.map((channel) => `${notice_id}_${channel}`).sort());
    assert.deepEqual(
      receiver.received.map(({ headers }) => headers['webhook-id']),
      keys,
    );
  });

  it('is tried five times, and then is failed, with its reason', async () => {
    const [id] = await tell([await makeChannel()]);
    receiver.answer(500);
    for (let tries = 1; tries < TRIES; tries++) {
      await assert.rejects(
        () => run(id),
        (error: Error) =>
          !(error instanceof PermanentError) && error.message === 'The receiver answered 500.',
      );
      assert.deepEqual(await standing(id), ['pending', tries, 500, 'The receiver answered 500.']);
    }
    await assert.rejects(() => run(id), PermanentError);
    assert.deepEqual(await standing(id), ['failed', TRIES, 500, 'The receiver answered 500.']);
    assert.equal(receiver.received.length, TRIES);
  });

  it('links to where the program is reached, where that is known', async () => {
    const at = async (publicUrl: string | undefined) => {
      const incidents = [makeIncident({ url: undefined })];
      const notice = makeNotice({ id: randomUUID(), url: undefined, incidents });
      const [id] = await tell([await makeChannel('webhook')], notice);
      await run(id, id, NEVER, new DeliveryWorker({ ...parts, publicUrl }));
      return (receiver.bodies() as Notice[]).at(-1)!;
    };
    const url = `https://tf.example/api/v1/alerts/incidents/${makeIncident().id}`;
    const linked = await at('https://tf.example');
    assert.deepEqual([linked.url, linked.incidents[0].url], [url, url]);
    assert.doesNotMatch(JSON.stringify(await at(undefined)), /"url"/);
  });

  it('counts its tries, by kind of channel and what became of them', async () => {
    registry.resetMetrics();
    const [id] = await tell([await makeChannel('discord')]);
    receiver.answer(500);
    await assert.rejects(() => run(id));
    receiver.answer(404);
    await assert.rejects(() => run(id));
    receiver.answer(200);
    const [other] = await tell([await makeChannel('teams')]);
    await run(other);
    const text = await registry.metrics();
    for (const labels of [
      'kind="discord",result="retried"',
      'kind="discord",result="failed"',
      'kind="teams",result="sent"',
    ])
      assert.ok(text.includes(`telemetryflow_notification_deliveries_total{${labels}} 1\n`), text);
  });

  it('that succeeds at a later try is sent', async () => {
    const [id] = await tell([await makeChannel()]);
    receiver.answer(503);
    await assert.rejects(() => run(id));
    receiver.answer(200);
    await run(id);
    assert.deepEqual(await standing(id), ['sent', 2, 200, null]);
  });

  it('that cannot succeed is not tried again', async () => {
    for (const status of [302, 400, 404, 410]) {
      const [id] = await tell([await makeChannel()]);
      receiver.answer(status, status === 302 ? { location: 'http://169.254.169.254/' } : {});
      await assert.rejects(() => run(id), PermanentError);
      const [state, attempts, last] = await standing(id);
      assert.deepEqual([state, attempts, last], ['failed', 1, status]);
    }
  });

  it('that failed is tried from the beginning when its job is retried by hand, and by no other job', async () => {
    const [id] = await tell([await makeChannel()]);
    receiver.answer(404);
    await assert.rejects(() => run(id), PermanentError);
    receiver.answer(200);
    assert.deepEqual(await run(id, `${id}.0`), { state: 'skipped' });
    assert.deepEqual(await run(id), { state: 'sent', status: 200 });
    assert.deepEqual(await standing(id), ['sent', 1, 200, null]);
  });

  it('waits as long as 429 asks for, by a job of its own', async () => {
    const [id] = await tell([await makeChannel()]);
    receiver.answer(429, { 'retry-after': '120' });
    assert.deepEqual(await run(id), { state: 'deferred', retry_after_ms: 120_000 });
    assert.deepEqual(added, [{ id: `${id}.1`, payload: { delivery_id: id }, delayMs: 120_000 }]);
    assert.deepEqual(await standing(id), ['pending', 1, 429, 'The receiver answered 429.']);
    receiver.answer(200);
    assert.deepEqual(await run(id, `${id}.0`), { state: 'skipped' }, 'nobody comes before that');
    const pending = await pendingDeliveries(postgres.dataSource, new Date(Date.now() + 60_000));
    assert.ok(!pending.some(({ payload }) => payload.delivery_id === id), 'not the sweeper either');
    await postgres.query(`UPDATE notification_deliveries SET due_at = now() WHERE id = $1`, [id]);
    assert.deepEqual(await run(id, `${id}.1`), { state: 'sent', status: 200 });
  });

  it('does not wait for ever: the fifth 429 is the last', async () => {
    const [id] = await tell([await makeChannel()]);
    receiver.answer(429, { 'retry-after': '0' });
    for (let tries = 1; tries < TRIES; tries++) {
      assert.equal((await run(id, tries === 1 ? id : `${id}.${tries - 1}`)).state, 'deferred');
      await postgres.query(`UPDATE notification_deliveries SET due_at = now() WHERE id = $1`, [id]);
    }
    await assert.rejects(() => run(id, `${id}.4`), PermanentError);
    assert.equal((await standing(id))[0], 'failed');
    assert.equal(added.length, TRIES - 1);
  });

  it('is in one hand at a time, until that hand is thought dead', async () => {
    const [id] = await tell([await makeChannel()]);
    let answer = () => undefined as unknown;
    const asked = new Promise<void>((resolve) => {
      receiver.answering = (response) => {
        answer = () => response.end('ok');
        resolve();
      };
    });
    const first = run(id);
    await asked;
    assert.deepEqual(await run(id, `${id}.0`), { state: 'skipped' });
    answer();
    assert.equal((await first).state, 'sent');

    // A process that was killed after it took one: the queue gives the same job out again, or the sweeper another.
    for (const later of ['same', 'another']) {
      const [lost] = await tell([await makeChannel()]);
      receiver.answering = (response) => response.end('ok');
      await postgres.query(
        `UPDATE notification_deliveries SET attempts = 1, claimed_by = $1::text, claimed_until = now() + $2::interval WHERE id = $1::uuid`,
        [lost, later === 'same' ? '60 seconds' : '-1 seconds'],
      );
      assert.equal((await run(lost, later === 'same' ? lost : `${lost}.1`)).state, 'sent');
      assert.equal((await rowOf(lost)).attempts, 2);
    }
  });

  it('that is stopped with the program has not used a try up', async () => {
    const [id] = await tell([await makeChannel()]);
    const stop = new AbortController();
    receiver.answering = () => stop.abort();
    await assert.rejects(() => run(id, id, stop.signal), /stopped/);
    const [state, attempts] = await standing(id);
    assert.deepEqual([state, attempts], ['pending', 0]);
    receiver.answering = (response) => response.end('ok');
    assert.equal((await run(id)).state, 'sent');
  });

  it('to a channel that was deleted or turned off fails, and says so', async () => {
    const channels = [await makeChannel(), await makeChannel()];
    const notice = makeNotice({ id: randomUUID() });
    const ids = [...(await tell([channels[0]], notice)), ...(await tell([channels[1]], notice))];
    await postgres.query('DELETE FROM notification_channels WHERE id = $1', [channels[0]]);
    await postgres.query('UPDATE notification_channels SET enabled = false WHERE id = $1', [channels[1]]);
    for (const id of ids) await assert.rejects(() => run(id), PermanentError);
    assert.deepEqual((await standing(ids[0]))[3], 'The channel was deleted.');
    assert.deepEqual((await standing(ids[1]))[3], 'The channel is turned off.');
  });

  it('that is no longer there is nothing to do', async () => {
    assert.deepEqual(await run(randomUUID()), { state: 'skipped' });
  });

  it('leaves no secret in rows, reasons or the log', async () => {
    for (const [kind, failing] of [
      ['slack', () => receiver.answer(500, {}, HUSH)],
      ['webhook', () => receiver.answer(400, {}, HUSH)],
      ['teams', () => (receiver.answering = (response) => response.destroy())],
      ['discord', () => (receiver.answering = () => undefined)],
    ] as const) {
      const [id] = await tell([await makeChannel(kind)]);
      failing();
      await assert.rejects(
        () => run(id, id, NEVER, kind === 'discord' ? hasty : worker),
        (error: Error) => !`${error.message} ${error.stack}`.includes(HUSH),
      );
      assert.ok(!JSON.stringify(await rowOf(id)).includes(HUSH));
    }
    assert.match(log, /did not get through/);
    assert.ok(!log.includes(HUSH), log);
  });
});

describe('How a notice fared', () => {
  it('tells all, some and none of its channels apart, and keeps the reason of each', async () => {
    const cases: [string[], string][] = [
      [['/ok', '/ok'], 'all_sent'],
      [['/ok', '/bad'], 'some_failed'],
      [['/bad', '/bad'], 'all_failed'],
    ];
    receiver.answering = (response, { path }) => response.writeHead(path === '/bad' ? 404 : 200).end();
    for (const [paths, expected] of cases) {
      const channels = await Promise.all(paths.map((path) => makeChannel('slack', path)));
      const ids = await tell(channels);
      const { notice_id } = await rowOf(ids[0]);
      const outcome = async () => (await outcomesOf(scope, postgres.dataSource, [notice_id])).get(notice_id);
      assert.equal((await outcome())?.outcome, 'pending');
      await Promise.allSettled(ids.map((id) => run(id)));
      assert.equal((await outcome())?.outcome, expected);
      for (const [index, channel] of channels.entries()) {
        const one = (await outcome())?.channels.find(({ channel_id }) => channel_id === channel);
        const isBad = paths[index] === '/bad';
        assert.deepEqual(
          [one?.state, one?.attempts, one?.last_status, one?.last_error],
          isBad ? ['failed', 1, 404, 'The receiver answered 404.'] : ['sent', 1, 200, null],
        );
      }
    }
  });

  it('leaves alone the channel that worked while another is tried again', async () => {
    const ids = await tell([await makeChannel('slack', '/ok'), await makeChannel('slack', '/flaky')]);
    let isUp = false;
    receiver.answering = (response, { path }) => response.writeHead(path === '/ok' || isUp ? 200 : 500).end();
    await Promise.allSettled(ids.map((id) => run(id)));
    await Promise.allSettled(ids.map((id) => run(id)));
    isUp = true;
    await Promise.allSettled(ids.map((id) => run(id)));
    const paths = receiver.received.map(({ path }) => path);
    assert.deepEqual(paths.sort(), ['/flaky', '/flaky', '/flaky', '/ok']);
  });
});

describe('The sweeper', () => {
  const old = (id: string, ago = '5 minutes') =>
    postgres.query(
      `UPDATE notification_deliveries SET updated_at = now() - $2::interval, due_at = now() - $2::interval,
         finished_at = CASE WHEN finished_at IS NULL THEN NULL ELSE now() - $2::interval END WHERE id = $1`,
      [id, ago],
    );

  it('gives a delivery whose job was lost a new one, whose id no job had', async () => {
    const [lost, young, sent] = await Promise.all(
      [1, 2, 3].map(async () => (await tell([await makeChannel()]))[0]),
    );
    await run(sent);
    await old(lost);
    await old(sent);
    await worker.sweep(Date.now());
    const of = (id: string) =>
      added.filter(({ payload }) => (payload as { delivery_id: string }).delivery_id === id);
    assert.deepEqual(of(lost), [{ id: `${lost}.0`, payload: { delivery_id: lost }, delayMs: 0 }]);
    assert.notEqual(of(lost)[0].id, firstJobs([lost])[0].id);
    assert.deepEqual([of(young), of(sent)], [[], []]);
    assert.equal((await run(lost, `${lost}.0`)).state, 'sent');
    await run(young);
  });

  it('forgets what ended 90 days ago, and nothing that is still to be told', async () => {
    const [done, waiting] = await Promise.all([1, 2].map(async () => (await tell([await makeChannel()]))[0]));
    await run(done);
    await old(done, '89 days');
    await old(waiting, '91 days');
    await worker.sweep(Date.now());
    assert.ok((await rowOf(done)) && (await rowOf(waiting)));
    await old(done, '91 days');
    await worker.sweep(Date.now());
    assert.equal(await rowOf(done), undefined);
    assert.equal((await rowOf(waiting)).state, 'pending');
  });
});
