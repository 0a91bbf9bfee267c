import assert from 'node:assert/strict';
import { describe, it, type TestContext } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { ALL, drain, entryOf, MIB, takeSoon, textsOf } from '../../test/support/queue-entries.js';
import { AppError, PermanentError } from '../errors.js';
import { BatchLost, type IngestQueue } from './ingest-queue.js';

export interface SuiteOptions {
  maxBacklogBytes: number;
  perSecond: number;
}

/** Opens the queue; called again, another time with what is in it, as a restart does. The queue before is closed then. */
export type OpenQueue = (options: SuiteOptions) => Promise<IngestQueue>;

/** Longer than any machine needs for what is there already. */
const PATIENCE_MS = 10_000;

/**
 * What every ingestion queue promises.
 *
 * @param prepare a place for an empty queue
 */
export function ingestQueueSuite(name: string, prepare: (context: TestContext) => Promise<OpenQueue>): void {
  const place = async (context: TestContext) => {
    const opened: IngestQueue[] = [];
    // Before the place is cleared, which comes after.
    context.after(() => Promise.all(opened.map((queue) => queue.close())));
    const open = await prepare(context);
    const defaults = { maxBacklogBytes: 1024 * MIB, perSecond: 1e6 };
    return async (options: Partial<SuiteOptions> = {}) => {
      const queue = await open({ ...defaults, ...options });
      opened.push(queue);
      return queue;
    };
  };
  const openNew = async (context: TestContext, options: Partial<SuiteOptions> = {}) =>
    (await place(context))(options);
  const hasCode = (code: string) => (error: unknown) => error instanceof AppError && error.code === code;

  describe(`The ingestion queue ${name}`, () => {
    it('gives out what was added: body, times, sums', async (context) => {
      const queue = await openNew(context);
      for (const text of ['one', 'two'])
        assert.deepEqual(await queue.add(entryOf(text)), { duplicate: false });
      const batch = await takeSoon(queue, { patienceMs: PATIENCE_MS });
      assert.ok(batch);
      assert.deepEqual(await textsOf(batch), ['one', 'two']);
      assert.deepEqual([batch.items, batch.bytes, batch.attempt, batch.interruptions], [2, 6, 1, 0]);
      const [{ receivedAtMs, retentionDays, items, bytes }] = batch.entries;
      assert.deepEqual([receivedAtMs, retentionDays, items, bytes], [1_800_000_000_000, 30, 1, 3]);
      assert.deepEqual(batch.scope, { organizationId: 'o', workspaceId: 'w', tenantId: 't' });
      queue.done(batch);
      const { waitingEntries, waitingBatches, backlogBytes } = await queue.stats();
      assert.deepEqual([waitingEntries, waitingBatches, backlogBytes], [0, 0, 0]);
    });

    it('gives bodies back as they came, every byte', async (context) => {
      const queue = await openNew(context);
      const body = Uint8Array.from({ length: 300_000 }, (_, i) => (i * 7919) >> 3);
      await queue.add({ ...entryOf('bytes'), body: body.slice() });
      await queue.add({ ...entryOf('none'), body: new Uint8Array(0) });
      const batch = await takeSoon(queue, { patienceMs: PATIENCE_MS });
      const [first, second] = await Promise.all(batch!.entries.map((entry) => entry.read()));
      assert.deepEqual([Buffer.from(first).equals(body), second.length], [true, 0]);
    });

    it('take waits for the size or the age, whichever comes first', async (context) => {
      const queue = await openNew(context);
      const started = performance.now();
      const young = takeSoon(queue, { limits: { maxAgeMs: 60 }, patienceMs: PATIENCE_MS });
      await queue.add(entryOf('small'));
      const first = await young;
      assert.deepEqual(await textsOf(first), ['small']);
      const waitedMs = performance.now() - started;
      assert.ok(waitedMs >= 58, `${waitedMs}`);
      const full = takeSoon(queue, { limits: { maxAgeMs: 1e8, maxBytes: 100 }, patienceMs: PATIENCE_MS });
      await queue.add(entryOf('big', { bytes: 100 }));
      assert.deepEqual(await textsOf(await full), ['big']);
      await queue.add(entryOf('young'));
      assert.equal(await takeSoon(queue, { limits: { maxAgeMs: 1e8 }, patienceMs: 50 }), undefined);
    });

    it('cuts batches at their limits, of one tenant and signal each, and tenants have their turns', async (context) => {
      const queue = await openNew(context);
      for (const [text, tenant] of ['1a', '2a', '3a', '4a', '5b', '6a'])
        await queue.add(entryOf(text, { tenant }));
      await queue.add(entryOf('7', { tenant: 'a', signal: 'logs' }));
      const batches: string[] = [];
      for (let i = 0; i < 4; i++) {
        const batch = await takeSoon(queue, { limits: { maxItems: 2 }, patienceMs: PATIENCE_MS });
        batches.push(`${batch?.scope.tenantId}${(await textsOf(batch)).join('')}`);
      }
      assert.deepEqual(batches, ['a12', 'b5', 'a34', 'a6']);
      assert.equal(await takeSoon(queue, { patienceMs: 50 }), undefined);
      assert.deepEqual(await drain(queue, 'logs'), ['7']);
    });

    it('several takers get different batches, and undefined when they are called off', async (context) => {
      const queue = await openNew(context);
      const takers = [1, 2].map(() => takeSoon(queue, { limits: { maxBytes: 5 }, patienceMs: PATIENCE_MS }));
      await Promise.all(['aaaaa', 'bbbbb'].map((text) => queue.add(entryOf(text))));
      const texts = await Promise.all(takers.map(async (taker) => (await textsOf(await taker)).join()));
      assert.deepEqual(texts.sort(), ['aaaaa', 'bbbbb']);
      assert.equal(await takeSoon(queue, { patienceMs: 20 }), undefined);
    });

    it('the same body is stored once: at the same time, later, and after a restart', async (context) => {
      const open = await place(context);
      let queue = await open();
      const first = { ...entryOf('x'), rejected: 7, note: 'why: "ü"' };
      const duplicate = { duplicate: true, rejected: 7, note: 'why: "ü"' };
      assert.deepEqual(await Promise.all([queue.add(first), queue.add(entryOf('x'))]), [
        { duplicate: false },
        duplicate,
      ]);
      assert.deepEqual(await queue.add(entryOf('x')), duplicate);
      assert.deepEqual(await queue.add(entryOf('x', { tenant: 'other' })), { duplicate: false });
      assert.deepEqual(await queue.add(entryOf('x', { signal: 'logs' })), { duplicate: false });
      await queue.close();
      queue = await open();
      assert.deepEqual(await queue.add(entryOf('x')), duplicate);
      assert.deepEqual(await drain(queue, 'logs'), ['x']);
      assert.deepEqual(await drain(queue), ['x', 'x']);
      assert.deepEqual(await queue.add(entryOf('x')), duplicate, 'also once it is stored');
    });

    it('what was planned comes first after a restart, unchanged; what was done does not come', async (context) => {
      const open = await place(context);
      let queue = await open();
      for (const text of ['a', 'b', 'c', 'd']) await queue.add(entryOf(text));
      const limits = { maxItems: 2 };
      const planned = await takeSoon(queue, { limits, patienceMs: PATIENCE_MS });
      const done = await takeSoon(queue, { limits, patienceMs: PATIENCE_MS });
      assert.ok(planned && done);
      queue.done(done);
      await queue.add(entryOf('e'));
      await queue.close();
      queue = await open();
      const again = await takeSoon(queue, { limits: { maxItems: 1 }, patienceMs: PATIENCE_MS });
      assert.deepEqual([again?.id, await textsOf(again)], [planned.id, ['a', 'b']]);
      if (again) queue.done(again);
      assert.deepEqual(await drain(queue), ['e']);
    });

    it('retry gives the same batch later, readable again', async (context) => {
      const queue = await openNew(context);
      await queue.add(entryOf('again'));
      const first = await takeSoon(queue, { patienceMs: PATIENCE_MS });
      assert.ok(first);
      const body = await first.entries[0].read();
      body.fill(0);
      const retriedAt = performance.now();
      queue.retry(first, 80);
      const second = await takeSoon(queue, { patienceMs: PATIENCE_MS });
      assert.ok(performance.now() - retriedAt >= 78);
      assert.ok(second);
      assert.deepEqual([second.id, second.attempt, await textsOf(second)], [first.id, 2, ['again']]);
      assert.throws(() => queue.done(first), BatchLost);
      await assert.rejects(queue.beginInsert(first, 1), BatchLost);
      await assert.rejects(first.entries[0].read(), BatchLost);
      await queue.beginInsert(second, 1);
      queue.done(second);
      assert.equal((await queue.stats()).waitingEntries, 0);
    });

    it('split gives two halves with new ids at once; one entry cannot be split', async (context) => {
      const queue = await openNew(context);
      for (const text of ['a', 'b', 'c']) await queue.add(entryOf(text));
      const whole = await takeSoon(queue, { patienceMs: PATIENCE_MS });
      assert.ok(whole);
      await queue.split(whole);
      const left = await takeSoon(queue, { patienceMs: PATIENCE_MS });
      const right = await takeSoon(queue, { patienceMs: PATIENCE_MS });
      assert.ok(left && right);
      assert.deepEqual([await textsOf(left), await textsOf(right)], [['a', 'b'], ['c']]);
      assert.deepEqual([left.items, left.bytes, right.items, right.bytes], [2, 2, 1, 1]);
      assert.equal(new Set([whole.id, left.id, right.id]).size, 3);
      await assert.rejects(queue.split(right), PermanentError);
      for (const half of [left, right]) queue.done(half);
      assert.equal((await queue.stats()).backlogBytes, 0);
    });

    it('failed entries are kept with their reason over restarts, can be retried and discarded', async (context) => {
      const open = await place(context);
      let queue = await open();
      for (const text of ['poison', 'fine', 'junk']) await queue.add(entryOf(text));
      for (const text of ['poison', 'fine', 'junk']) {
        const batch = await takeSoon(queue, { limits: { maxItems: 1 }, patienceMs: PATIENCE_MS });
        assert.ok(batch);
        if (text === 'fine') queue.done(batch);
        else await queue.fail(batch, `it is ${text}`);
      }
      await queue.close();
      queue = await open();
      assert.equal(await takeSoon(queue, { patienceMs: 20 }), undefined);
      const failed = await queue.failed();
      assert.deepEqual(failed.map(({ reason, items, bytes }) => [reason, items, bytes]).sort(), [
        ['it is junk', 1, 4],
        ['it is poison', 1, 6],
      ]);
      const { signal, scope, receivedAtMs } = failed[0];
      assert.deepEqual([signal, scope.tenantId, receivedAtMs], ['traces', 't', 1_800_000_000_000]);
      assert.equal((await queue.stats()).failedEntries, 2);
      const junk = failed.filter(({ reason }) => reason === 'it is junk').map(({ id }) => id);
      assert.equal(await queue.discardFailed([...junk, 'unknown']), 1);
      assert.equal(await queue.retryFailed(), 1);
      assert.deepEqual([await drain(queue), (await queue.failed()).length], [['poison'], 0]);
      const { failedEntries, failedBytes, backlogBytes } = await queue.stats();
      assert.deepEqual([failedEntries, failedBytes, backlogBytes], [0, 0, 0]);
    });

    it('refuses over the byte limit with a second to wait, and takes again when something is done', async (context) => {
      const queue = await openNew(context, { maxBacklogBytes: 20_000 });
      for (const text of ['a', 'b']) await queue.add(entryOf(text, { bytes: 9000 }));
      await assert.rejects(queue.add(entryOf('c', { bytes: 9000 })), (error) => {
        return error instanceof AppError && error.code === 'BACKLOG_FULL' && error.retryAfterSeconds === 1;
      });
      assert.equal((await drain(queue)).length, 2);
      assert.deepEqual(await queue.add(entryOf('c', { bytes: 9000 })), { duplicate: false });
    });

    it('tiny entries count at least 4 KiB, so that their number is bounded too', async (context) => {
      const queue = await openNew(context, { maxBacklogBytes: 10 * 4096 });
      const results = await Promise.allSettled([...Array(25).keys()].map((i) => queue.add(entryOf(`${i}`))));
      assert.equal(results.filter(({ status }) => status === 'fulfilled').length, 10);
    });

    it('reports what waits, by signal and tenant', async (context) => {
      const queue = await openNew(context);
      for (const [text, tenant] of ['1a', '2a', '3b']) await queue.add(entryOf(text, { tenant, bytes: 10 }));
      await takeSoon(queue, { patienceMs: PATIENCE_MS });
      const waiting = (await queue.waiting()).map(({ signal, scope, items, bytes }) => [
        signal,
        scope.tenantId,
        items,
        bytes,
      ]);
      assert.deepEqual(waiting.sort(), [
        ['traces', 'a', 2, 20],
        ['traces', 'b', 1, 10],
      ]);
      const { waitingItems, waitingBytes, waitingEntries, waitingBatches } = await queue.stats();
      assert.deepEqual([waitingItems.traces, waitingBytes, waitingEntries, waitingBatches], [3, 30, 3, 1]);
    });

    it('a paused queue gives nothing out until it is resumed, also after a restart; adding goes on', async (context) => {
      const open = await place(context);
      let queue = await open();
      await queue.pause();
      await queue.add(entryOf('later'));
      assert.equal(await takeSoon(queue, { patienceMs: 50 }), undefined);
      await queue.close();
      queue = await open();
      assert.equal((await queue.stats()).isPaused, true);
      const waiting = takeSoon(queue, { patienceMs: PATIENCE_MS });
      assert.equal(await Promise.race([waiting, sleep(50, 'nothing')]), 'nothing');
      await queue.resume();
      assert.deepEqual(await textsOf(await waiting), ['later']);
      assert.equal((await queue.stats()).isPaused, false);
    });

    it('gives out no more batches in a second than it may', async (context) => {
      const queue = await openNew(context, { perSecond: 2 });
      for (let i = 0; i < 5; i++) await queue.add(entryOf(`${i}`));
      const startedAt = performance.now();
      for (let i = 0; i < 5; i++)
        assert.ok(await takeSoon(queue, { limits: { maxItems: 1 }, patienceMs: PATIENCE_MS }));
      // The first and the last second may be cut.
      assert.ok(performance.now() - startedAt > 1000);
    });

    it('close ends waiting takers, and refuses what comes later', async (context) => {
      const open = await place(context);
      const queue = await open();
      const waiting = queue.take('logs', { ...ALL, maxAgeMs: 60_000 }, new AbortController().signal);
      const adding = queue.add(entryOf('last'));
      const closing = queue.close();
      await assert.rejects(queue.add(entryOf('late')), hasCode('SHUTTING_DOWN'));
      assert.deepEqual([await adding, await waiting], [{ duplicate: false }, undefined]);
      await closing;
      assert.equal(await queue.take('traces', ALL, new AbortController().signal), undefined);
      assert.deepEqual(await drain(await open()), ['last']);
    });
  });
}
