import assert from 'node:assert/strict';
import { after, before, describe, it, type TestContext } from 'node:test';
import { pino } from 'pino';
import { entryOf, scopeOf, takeSoon, temporaryDirectory } from '../../test/support/queue-entries.js';
import { TelemetryStore } from '../../test/support/telemetry-store.js';
import { until } from '../../test/support/until.js';
import type { ClickHouse } from '../connections/clickhouse.js';
import type { Scope } from '../edge/scope.js';
import { DiskIngestQueue } from '../queue/disk-ingest-queue.js';
import type { IngestBatch } from '../queue/ingest-queue.js';
import { CANARY_SCOPE } from './canary-scope.js';
import { Ledger } from './ledger.js';
import { recordLedger } from './ledger-rows.js';

const log = pino({ level: 'silent' });
const NEVER = new AbortController().signal;
const MINUTE_MS = 60_000;

describe('The ledger', { concurrency: false }, () => {
  let store: TelemetryStore;
  let clickhouse: ClickHouse;
  let tenants = 0;
  before(async () => {
    store = await TelemetryStore.open();
    clickhouse = store.clickhouse;
  });
  after(() => store.close());

  const rangeOf = (fromMs: number, toMs: number) => ({
    fromNs: BigInt(fromMs) * 1_000_000n,
    toNs: BigInt(toMs) * 1_000_000n,
  });
  const anHour = () => rangeOf(Date.now() - 60 * MINUTE_MS, Date.now() + 1);

  /** A ledger over a queue of its own, and a tenant that nobody else has. */
  async function setUp(context: TestContext, open: ClickHouse = clickhouse) {
    const directory = await temporaryDirectory(context);
    const openQueue = () => DiskIngestQueue.open({ directory, maxBacklogBytes: 1e9, reserveBytes: 0 });
    const queue = await openQueue();
    const ledger = new Ledger(open, queue, log);
    const tenant = `tenant ${++tenants}`;
    context.after(() => queue.close());
    return { directory, openQueue, queue, ledger, tenant, scope: scopeOf(tenant) };
  }

  function send(queue: DiskIngestQueue, tenant: string, text: string, items = 1, reasons = {}) {
    const rejected = Object.values<number>(reasons).reduce((sum, count) => sum + count, 0);
    return queue.add({ ...entryOf(text, { tenant }), receivedAtMs: Date.now(), items, rejected, reasons });
  }

  async function take(queue: DiskIngestQueue): Promise<IngestBatch> {
    const batch = await takeSoon(queue, { patienceMs: 5000 });
    assert.ok(batch, 'a batch is due');
    return batch;
  }

  async function figures(ledger: Ledger, scope: Scope, range = anHour()) {
    const { data } = await ledger.read(scope, range, NEVER);
    assert.ok(data.length <= 1, 'one signal is used');
    if (data.length === 0) return undefined;
    const { signal, oldest_waiting_ms, balanced, ...rest } = data[0];
    assert.equal(balanced, rest.difference === 0);
    const others = Object.entries(rest).filter(([, value]) => value !== 0 && !Array.isArray(value));
    return { ...Object.fromEntries(others), rejected: rest.rejected };
  }

  it('follows items from the queue into the store, and adds up at every step', async (context) => {
    const { queue, ledger, tenant, scope } = await setUp(context);
    assert.equal(await figures(ledger, scope), undefined);
    await send(queue, tenant, 'a', 5, { TIME_OUT_OF_RANGE: 2 });
    await send(queue, tenant, 'b', 3, { TIME_OUT_OF_RANGE: 1, INVALID_LINK_ID: 4 });
    const rejected = [
      { reason: 'INVALID_LINK_ID', items: 4 },
      { reason: 'TIME_OUT_OF_RANGE', items: 3 },
    ];
    assert.deepEqual(await figures(ledger, scope), { received: 15, waiting: 8, rejected });
    const batch = await take(queue);
    assert.deepEqual(await figures(ledger, scope), { received: 15, waiting: 8, rejected });
    ledger.stored(batch, 8, () => queue.done(batch));
    assert.deepEqual(await figures(ledger, scope), { received: 15, waiting: 8, rejected }, 'not written yet');
    await ledger.flush();
    assert.deepEqual(await figures(ledger, scope), { received: 15, stored: 8, rejected });
    assert.deepEqual(queue.waiting(), []);
  });

  it('a crash between ledger and queue counts nothing twice: the batch comes again and says the same', async (context) => {
    const { directory, openQueue, queue, ledger, tenant, scope } = await setUp(context);
    await send(queue, tenant, 'a', 5, { INVALID_TRACE_ID: 1 });
    const batch = await take(queue);
    ledger.stored(batch, 5, () => undefined);
    await ledger.flush();
    await queue.close();
    const reopened = await openQueue();
    context.after(() => reopened.close());
    const again = await take(reopened);
    assert.equal(again.id, batch.id, directory);
    const second = new Ledger(clickhouse, reopened, log);
    second.stored(again, 5, () => reopened.done(again));
    await second.flush();
    const rejected = [{ reason: 'INVALID_TRACE_ID', items: 1 }];
    assert.deepEqual(await figures(second, scope), { received: 6, stored: 5, rejected });
  });

  it('shows what is missing when less was stored than came in, and when more was', async (context) => {
    const { queue, ledger, tenant, scope } = await setUp(context);
    for (const [text, stored, difference] of [
      ['a', 3, 2],
      ['b', 6, 1],
      ['c', 0, 6],
    ] as const) {
      await send(queue, tenant, text, 5);
      const batch = await take(queue);
      ledger.stored(batch, stored, () => queue.done(batch));
      await ledger.flush();
      const [{ balanced, difference: missing }] = (await ledger.read(scope, anHour(), NEVER)).data;
      assert.deepEqual([balanced, missing], [false, difference]);
    }
  });

  it('what failed is counted as failed with what was rejected beside it, and waits again when it is retried', async (context) => {
    const { queue, ledger, tenant, scope } = await setUp(context);
    await send(queue, tenant, 'poison', 5, { INVALID_SPAN_ID: 2 });
    await queue.fail(await take(queue), 'it is poison');
    const rejected = [{ reason: 'INVALID_SPAN_ID', items: 2 }];
    assert.deepEqual(await figures(ledger, scope), { received: 7, failed: 5, rejected });
    assert.equal(await queue.retryFailed(), 1);
    assert.deepEqual(await figures(ledger, scope), { received: 7, waiting: 5, rejected });
    const batch = await take(queue);
    ledger.stored(batch, 5, () => queue.done(batch));
    await ledger.flush();
    assert.deepEqual(await figures(ledger, scope), { received: 7, stored: 5, rejected });
  });

  it('what is dropped by hand stays received, and is dropped', async (context) => {
    const { queue, ledger, tenant, scope } = await setUp(context);
    await send(queue, tenant, 'poison', 5, { INVALID_SPAN_ID: 2 });
    await queue.fail(await take(queue), 'it is poison');
    const ids = (await queue.failed()).map(({ id }) => id);
    assert.equal(await ledger.dropFailed(ids), 1);
    assert.deepEqual(await queue.failed(), []);
    const rejected = [{ reason: 'INVALID_SPAN_ID', items: 2 }];
    assert.deepEqual(await figures(ledger, scope), { received: 7, dropped: 5, rejected });
  });

  for (const isRecorded of [false, true]) {
    const when = isRecorded ? 'after its drop was recorded' : 'before its drop was recorded';
    it(`a crash ${when} drops a failed entry once, at the next start`, async (context) => {
      const { openQueue, queue, ledger, tenant, scope } = await setUp(context);
      await send(queue, tenant, 'poison', 5);
      await queue.fail(await take(queue), 'it is poison');
      const [entry] = await queue.failed();
      const crash = async () => {
        const at = { scope, signal: entry.signal, atMs: entry.receivedAtMs, reason: '', items: 5 };
        const rows = (['received', 'dropped'] as const).map((outcome) => ({ ...at, outcome }));
        if (isRecorded) await recordLedger(clickhouse, rows, `dropped ${entry.id}`);
        throw new Error('the process ends here');
      };
      await assert.rejects(queue.discardFailed([entry.id], crash), /ends here/);
      if (!isRecorded)
        assert.deepEqual(await figures(ledger, scope), { received: 5, dropped: 5, rejected: [] });
      await queue.close();
      const reopened = await openQueue();
      context.after(() => reopened.close());
      assert.equal((await reopened.failed())[0].isDiscarded, true);
      assert.equal(await reopened.retryFailed(), 0, 'it does not come back');
      const second = new Ledger(clickhouse, reopened, log);
      second.onApplicationBootstrap();
      assert.deepEqual(await figures(second, scope), { received: 5, dropped: 5, rejected: [] });
      assert.deepEqual(await reopened.failed(), []);
    });
  }

  it('a request that is rejected whole is there at once, and in the table a little later', async (context) => {
    const { queue, ledger, scope } = await setUp(context);
    for (let count = 0; count < 3; count++)
      ledger.rejected(scope, 'logs', Date.now(), { INVALID_TRACE_ID: 2 });
    const expected = { received: 6, rejected: [{ reason: 'INVALID_TRACE_ID', items: 6 }] };
    assert.deepEqual(await figures(ledger, scope), expected);
    const other = new Ledger(clickhouse, queue, log);
    await until('it is in the table', async () => (await figures(other, scope)) !== undefined);
    assert.deepEqual(await figures(other, scope), expected);
    assert.deepEqual(await figures(ledger, scope), expected);
  });

  it('while the store is away the queue keeps its batches, and nothing is lost or doubled after', async (context) => {
    let isAway = true;
    const flaky = new Proxy(clickhouse, {
      get: (target, name) => {
        if (name === 'insertValues' && isAway)
          return () => Promise.reject(Object.assign(new Error('refused'), { code: 'ECONNREFUSED' }));
        const value = Reflect.get(target, name) as unknown;
        return typeof value === 'function' ? value.bind(target) : value;
      },
    });
    const { queue, ledger, tenant, scope } = await setUp(context, flaky);
    await send(queue, tenant, 'a', 5);
    const batch = await take(queue);
    let done = 0;
    ledger.stored(batch, 5, () => {
      done++;
      queue.done(batch);
    });
    ledger.rejected(scope, 'traces', Date.now(), { INVALID_TRACE_ID: 1 });
    await ledger.flush();
    const rejected = [{ reason: 'INVALID_TRACE_ID', items: 1 }];
    assert.equal(done, 0);
    assert.deepEqual(await figures(ledger, scope), { received: 6, waiting: 5, rejected });
    const full = new AbortController();
    for (let count = 0; count < 300; count++)
      ledger.stored({ ...batch, id: `${batch.id} ${count}`, items: 0, entries: [] }, 0, () => undefined);
    let hasRoom = false;
    const room = ledger.room(full.signal).then(() => {
      hasRoom = true;
    });
    await ledger.flush();
    assert.equal(hasRoom, false, 'the worker waits when so many are not written');
    isAway = false;
    await room;
    await until('it is written by itself', () => done === 1);
    assert.deepEqual(await figures(ledger, scope), { received: 6, stored: 5, rejected });
  });

  it('what retention drops is no longer stored but expired', async (context) => {
    const { queue, ledger, tenant, scope } = await setUp(context);
    await send(queue, tenant, 'a', 5);
    const batch = await take(queue);
    ledger.stored(batch, 5, () => queue.done(batch));
    await ledger.flush();
    const expired = {
      scope,
      signal: 'traces',
      atMs: Date.now(),
      outcome: 'expired',
      reason: '',
      items: 4,
    } as const;
    for (let times = 0; times < 2; times++) await recordLedger(clickhouse, [expired], 'cleanup of today');
    assert.deepEqual(await figures(ledger, scope), { received: 5, stored: 1, expired: 4, rejected: [] });
  });

  it('counts by the minute of receipt, in the queue and in the table', async (context) => {
    const { queue, ledger, tenant, scope } = await setUp(context);
    const thenMs = Math.floor(Date.now() / MINUTE_MS) * MINUTE_MS - 30 * MINUTE_MS;
    const entry = (text: string, receivedAtMs: number) =>
      queue.add({ ...entryOf(text, { tenant }), receivedAtMs, items: 1 });
    await entry('last of a minute', thenMs - 1);
    await entry('first of the next', thenMs);
    await entry('last of it', thenMs + MINUTE_MS - 1);
    const ranges = [
      [thenMs, thenMs + 1, 2],
      [thenMs - 1, thenMs, 1],
      [thenMs - 1, thenMs + 1, 3],
    ];
    for (const [from, to, received] of ranges)
      assert.deepEqual(await figures(ledger, scope, rangeOf(from, to)), {
        ...{ received, waiting: received, rejected: [] },
      });
    const batch = await take(queue);
    ledger.stored(batch, 3, () => queue.done(batch));
    await ledger.flush();
    for (const [from, to, received] of ranges)
      assert.deepEqual(await figures(ledger, scope, rangeOf(from, to)), {
        ...{ received, stored: received, rejected: [] },
      });
  });

  it('has an account for each tenant, and none for the canary', async (context) => {
    const { queue, ledger, tenant, scope } = await setUp(context);
    await send(queue, tenant, 'ours', 5);
    await send(queue, `${tenant} of others`, 'theirs', 3);
    await queue.add({ ...entryOf('canary'), scope: CANARY_SCOPE, receivedAtMs: Date.now() });
    ledger.rejected(CANARY_SCOPE, 'traces', Date.now(), { INVALID_TRACE_ID: 1 });
    const allWaiting = async () =>
      (await ledger.readAll(anHour())).map(({ signal, waiting }) => [signal, waiting]);
    assert.deepEqual(
      (await allWaiting()).find(([signal]) => signal === 'traces'),
      ['traces', 8],
    );
    for (let count = 0; count < 3; count++) {
      const batch = await take(queue);
      ledger.stored(batch, batch.items, () => queue.done(batch));
    }
    await ledger.flush();
    assert.deepEqual(queue.waiting(), []);
    assert.deepEqual(await figures(ledger, scope), { received: 5, stored: 5, rejected: [] });
    assert.deepEqual(await figures(ledger, scopeOf(`${tenant} of others`)), {
      received: 3,
      stored: 3,
      rejected: [],
    });
    assert.equal(await figures(ledger, CANARY_SCOPE), undefined);
  });
});
