import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Failpoint } from '../src/failpoints.js';
import type { SignalBalance } from '../src/ledger/ledger-balance.js';
import { SIGNALS, type Signal } from '../src/signal.js';
import { queryEachSignal, queryStore, TABLES } from './support/engine.js';
import { call, getJson } from './support/http.js';
import { ITEMS, requestOf } from './support/items.js';
import { encode, sendOtlp } from './support/otlp-client.js';
import { REJECTED_ITEMS } from './support/rejected-items.js';
import { rounds } from './support/rounds.js';
import { Random } from './support/seed.js';
import { makeDataDir, Server, StartFailed } from './support/server.js';
import { makeTenant, type TestTenant } from './support/tenant.js';
import { until } from './support/until.js';

const RANDOM_KILLS = rounds(3);
const MAX_SENDING_MS = 600;
const MAX_UNTIL_FAILPOINT_MS = 10_000;
/** Where a batch can be in two places, or a rejected item in none. */
const STEPS: [Failpoint, number][] = [
  ['journal-synced', 20],
  ['batch-planned', 4],
  ['insert-finished', 2],
  ['ledger-written', 1],
  ['ledger-written', 2],
  ['batch-done', 2],
];

interface Body {
  tenant: TestTenant;
  signal: Signal;
  good: number;
  bad: number;
  bytes: Buffer;
  isAcknowledged: boolean;
}

async function send(server: Server, body: Body): Promise<number> {
  const headers = { authorization: `Bearer ${body.tenant.ingestKey}` };
  try {
    const { status } = await sendOtlp(server.otlp, body.signal, 'json', body.bytes, { headers });
    if (status === 200) body.isAcknowledged = true;
    return status;
  } catch {
    return 0;
  }
}

async function ledgerOf(server: Server, tenant: TestTenant, query = 'from=now-1h') {
  const { status, body } = await getJson(`${server.api}/api/v1/ledger?${query}`, tenant.readKey);
  assert.equal(status, 200, JSON.stringify(body));
  return body as { balanced: boolean; data: SignalBalance[] };
}

function sumOf(bodies: Body[], tenant: TestTenant, signal: Signal, count: (body: Body) => number): number {
  return bodies
    .filter((body) => body.tenant === tenant && body.signal === signal)
    .reduce((sum, body) => sum + count(body), 0);
}

const rejectedIn = ({ rejected }: SignalBalance) => rejected.reduce((sum, { items }) => sum + items, 0);

describe('The ledger', { concurrency: false }, () => {
  const random = Random.announced('ledger');
  const dataDir = makeDataDir();
  const tenants: TestTenant[] = [];
  const bodies: Body[] = [];
  let server: Server;
  let made = 0;
  before(async () => {
    server = await Server.start(dataDir);
    for (const name of ['first', 'second']) tenants.push(await makeTenant(server, name));
    await server.stop();
  });
  after(() => server.kill());

  function makeBody(good = 1 + random.below(4), bad = random.below(3)): Body {
    const signal = random.pick(SIGNALS);
    const changes = REJECTED_ITEMS.filter((item) => item.signal === signal).map(({ change }) => change);
    const items = [
      ...Array.from({ length: good }, (_, index) => ITEMS[signal](`${++made}-${index}`)),
      ...Array.from({ length: bad }, () => ITEMS[signal](`${++made}-bad`, random.pick(changes))),
    ];
    const bytes = encode(signal, 'json', requestOf(signal, items));
    return { tenant: random.pick(tenants), signal, good, bad, bytes, isAcknowledged: false };
  }

  async function sendUntilGone(): Promise<void> {
    const client = async () => {
      while (server.program.isRunning) {
        const body = makeBody();
        bodies.push(body);
        if ((await send(server, body)) === 0) return;
      }
    };
    await Promise.all([client(), client(), client()]);
  }

  /** As clients do whose answer never came. */
  async function resend(): Promise<void> {
    for (const body of bodies.filter(({ isAcknowledged }) => !isAcknowledged))
      while (!body.isAcknowledged && server.program.isRunning) await send(server, body);
  }

  for (let round = 1; round <= RANDOM_KILLS; round++) {
    it(`kill -9 at a random moment, round ${round}`, async () => {
      server = await Server.start(dataDir);
      await resend();
      const sending = sendUntilGone();
      await sleep(20 + random.below(MAX_SENDING_MS));
      await server.kill();
      await sending;
    });
  }

  for (const [step, count] of STEPS) {
    it(`kill -9 at the step ${step}, the ${count}. time`, async () => {
      try {
        server = await Server.start(dataDir, { FAILPOINT: `${step}:${count}` });
        const sending = sendUntilGone();
        const limit = sleep(MAX_UNTIL_FAILPOINT_MS, undefined, { ref: false });
        const exit = await Promise.race([server.program.exited, limit]);
        if (!exit) await server.kill();
        await sending;
        assert.deepEqual(exit, { code: null, signal: 'SIGKILL' }, `${step} was not reached`);
      } catch (error) {
        if (!(error instanceof StartFailed && error.exit.signal === 'SIGKILL')) throw error;
      }
    });
  }

  it('after all of that it says of each tenant and signal exactly what was acknowledged, stored and rejected', async () => {
    server = await Server.start(dataDir);
    await resend();
    await server.drained();
    for (const tenant of tenants) {
      const { balanced, data } = await ledgerOf(server, tenant);
      assert.ok(balanced);
      const figures = data.map((one) => ({ ...one, rejected: rejectedIn(one) }));
      const expected = SIGNALS.map((signal) => ({
        signal,
        received: sumOf(bodies, tenant, signal, ({ good, bad }) => good + bad),
        stored: sumOf(bodies, tenant, signal, ({ good }) => good),
        rejected: sumOf(bodies, tenant, signal, ({ bad }) => bad),
        ...{ waiting: 0, failed: 0, expired: 0, dropped: 0, oldest_waiting_ms: null },
        ...{ balanced: true, difference: 0 },
      }));
      assert.deepEqual(figures, expected);
    }
    const items = bodies.reduce((sum, { good, bad }) => sum + good + bad, 0);
    console.log(
      `# ledger: ${bodies.length} bodies with ${items} items over ${RANDOM_KILLS + STEPS.length} kills`,
    );
    assert.ok(bodies.length > 50);
  });

  it('the store holds as many rows of each tenant as the ledger says', async () => {
    await server.stop();
    const answers = await queryEachSignal<{ tenant_id: string; items: number }>(
      dataDir,
      (signal) => `SELECT tenant_id, count() AS items FROM ${TABLES[signal]} GROUP BY tenant_id`,
    );
    for (const [signal, rows] of answers) {
      const expected = tenants.map((tenant) => [
        tenant.tenantId,
        sumOf(bodies, tenant, signal, ({ good }) => good),
      ]);
      assert.deepEqual(rows.map(({ tenant_id, items }) => [tenant_id, items]).sort(), expected.sort());
    }
  });

  it('a request of which everything is rejected is received and rejected, and SIGTERM loses none', async () => {
    server = await Server.start(dataDir);
    const [, second] = tenants;
    const before = (await ledgerOf(server, second)).data;
    const refused = Array.from({ length: 9 }, () => ({ ...makeBody(0, 2), tenant: second }));
    for (const body of refused) assert.equal(await send(server, body), 200);
    await server.stop();
    server = await Server.start(dataDir);
    const { balanced, data } = await ledgerOf(server, second);
    assert.ok(balanced);
    for (const [index, { signal, received, stored, rejected }] of data.entries()) {
      const added = sumOf(refused, second, signal, ({ bad }) => bad);
      assert.equal(received - before[index].received, added, signal);
      assert.equal(rejectedIn(data[index]) - rejectedIn(before[index]), added, signal);
      assert.equal(stored, before[index].stored);
      assert.ok(rejected.every(({ reason }) => /^(INVALID_\w+_ID|TIME_OUT_OF_RANGE)$/.test(reason)));
    }
  });

  it('what waits for a worker is waiting, and what a range does not touch is not in its answer', async () => {
    await server.stop();
    server = await Server.startIdle(dataDir);
    const [tenant] = tenants;
    const body = { ...makeBody(3, 1), tenant };
    const { signal } = body;
    const before = (await ledgerOf(server, tenant, `from=now-1h&signal=${signal}`)).data[0];
    assert.equal(await send(server, body), 200);
    const { balanced, data } = await ledgerOf(server, tenant, `from=now-1h&signal=${signal}`);
    assert.equal(balanced, true);
    assert.equal(data[0].waiting, 3);
    assert.equal(data[0].received - before.received, 4);
    assert.ok(data[0].oldest_waiting_ms! >= 0);
    assert.deepEqual((await ledgerOf(server, tenant, 'from=now-2d&to=now-1d')).data, []);
  });

  it('what the store refuses by itself is in the failed set, over a restart too', async () => {
    await server.stop();
    const [tenant] = tenants;
    await queryStore(
      dataDir,
      ...SIGNALS.map((signal) => `ALTER TABLE ${TABLES[signal]} ADD CONSTRAINT poison CHECK 0`),
    );
    server = await Server.start(dataDir);
    const failedOf = async () =>
      (await ledgerOf(server, tenant)).data.reduce((sum, { failed }) => sum + failed, 0);
    // Three tries with a second and two between them, more than `until` waits on a slow machine.
    for (let looks = 0; looks < 100 && (await failedOf()) === 0; looks++) await sleep(300);
    assert.equal(await failedOf(), 3);
    await server.stop();
    await queryStore(
      dataDir,
      ...SIGNALS.map((signal) => `ALTER TABLE ${TABLES[signal]} DROP CONSTRAINT poison`),
    );
    server = await Server.start(dataDir);
    assert.equal(await failedOf(), 3);
    assert.equal((await ledgerOf(server, tenant)).balanced, true);
  });

  it('the metrics say the same of all tenants together', async () => {
    const text = async () => (await call(`${server.api}/metrics`, { method: 'GET' })).body.toString();
    const figure = (all: string, name: string) => Number(new RegExp(`^${name} (.*)$`, 'm').exec(all)?.[1]);
    const all = await text();
    for (const signal of SIGNALS) {
      const one = (outcome: string) =>
        figure(all, `telemetryflow_ledger_items\\{signal="${signal}",outcome="${outcome}"\\}`);
      const parts = ['stored', 'rejected', 'waiting', 'failed', 'expired', 'dropped'].map(one);
      assert.ok(one('received') > 0);
      assert.equal(
        one('received'),
        parts.reduce((sum, part) => sum + part),
      );
      assert.equal(figure(all, `telemetryflow_ledger_difference_items\\{signal="${signal}"\\}`), 0);
    }
  });
});

describe('The canary', { concurrency: false }, () => {
  let server: Server;
  before(async () => {
    server = await Server.start(makeDataDir(), { CANARY_INTERVAL_MS: '500' });
  });
  after(() => server.stop());

  it('measures from acknowledged to visible, again and again', async () => {
    const health = async () => (await getJson(`${server.api}/health/ready`)).body as Record<string, Ingest>;
    await until('an item is seen', async () => {
      const { ingest } = (await health()).dependencies;
      assert.equal(ingest.status, 'up');
      return typeof ingest.ingest_visible_ms === 'number';
    });
    const seen = async () => {
      const { body } = await call(`${server.api}/metrics`, { method: 'GET' });
      return Number(/^telemetryflow_canary_visible_seconds_count (\d+)$/m.exec(body.toString())?.[1]);
    };
    const first = await seen();
    await until('two more are seen', async () => (await seen()) >= first + 2);
  });

  it('nobody sees its items, and no credential reaches them', async () => {
    for (const path of ['logs', 'services', 'ledger']) {
      const { body } = await getJson(`${server.api}/api/v1/${path}`, server.key);
      assert.deepEqual((body as { data: unknown[] }).data, [], path);
    }
    const headers = { authorization: `Bearer ${server.key}`, 'x-tenant-id': 'canary' };
    assert.equal((await call(`${server.api}/api/v1/logs`, { method: 'GET', headers })).status, 403);
  });
});

interface Ingest {
  ingest: { status: string; ingest_visible_ms: number | null };
}
