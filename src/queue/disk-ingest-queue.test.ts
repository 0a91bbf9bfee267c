import assert from 'node:assert/strict';
import { cp, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import {
  ALL,
  drain,
  entryOf,
  MIB,
  takeSoon,
  temporaryDirectory,
  textsOf,
} from '../../test/support/queue-entries.js';
import { AppError, PermanentError } from '../errors.js';
import { BodyPool } from '../memory/body-pool.js';
import { DiskIngestQueue } from './disk-ingest-queue.js';
import type { DiskQueueOptions } from './queue-startup.js';

async function openIn(directory: string, options: Partial<DiskQueueOptions> = {}): Promise<DiskIngestQueue> {
  return DiskIngestQueue.open({
    directory,
    maxBacklogBytes: 1024 * MIB,
    reserveBytes: MIB,
    lazyMs: 5,
    report: (report) => assert.fail(JSON.stringify(report)),
    ...options,
  });
}

async function openNew(
  context: TestContext,
  options: Partial<DiskQueueOptions> = {},
): Promise<DiskIngestQueue> {
  const queue = await openIn(await temporaryDirectory(context), options);
  context.after(() => queue.close());
  return queue;
}

function hasCode(code: string): (error: unknown) => boolean {
  return (error) => error instanceof AppError && error.code === code;
}

async function eventually(isTrue: () => boolean): Promise<void> {
  for (let i = 0; i < 200 && !isTrue(); i++) await sleep(10);
  assert.ok(isTrue());
}

test('gives out what was added: body, times, sums', async (context) => {
  const queue = await openNew(context);
  for (const text of ['one', 'two']) assert.deepEqual(await queue.add(entryOf(text)), { duplicate: false });
  const batch = await takeSoon(queue);
  assert.ok(batch);
  assert.deepEqual(await textsOf(batch), ['one', 'two']);
  assert.deepEqual([batch.items, batch.bytes, batch.attempt, batch.interruptions], [2, 6, 1, 0]);
  assert.deepEqual([batch.entries[0].receivedAtMs, batch.entries[0].retentionDays], [1_800_000_000_000, 30]);
  queue.done(batch);
  assert.equal(queue.stats().waitingEntries, 0);
});

test('take waits for the size or the age, whichever comes first', async (context) => {
  const queue = await openNew(context);
  const started = performance.now();
  const young = takeSoon(queue, { limits: { maxAgeMs: 60 }, patienceMs: 5000 });
  await queue.add(entryOf('small'));
  await young;
  const waitedMs = performance.now() - started;
  assert.ok(waitedMs >= 59 && waitedMs < 1000, `${waitedMs}`);
  const full = takeSoon(queue, { limits: { maxAgeMs: 60_000, maxBytes: 100 }, patienceMs: 5000 });
  await queue.add(entryOf('big', { bytes: 100 }));
  assert.deepEqual(await textsOf(await full), ['big']);
});

test('several takers get different batches, and undefined when they are called off', async (context) => {
  const queue = await openNew(context);
  const takers = [1, 2].map(() => takeSoon(queue, { limits: { maxBytes: 5 }, patienceMs: 300 }));
  await Promise.all(['aaaaa', 'bbbbb'].map((text) => queue.add(entryOf(text))));
  const texts = await Promise.all(takers.map(async (taker) => (await textsOf(await taker)).join()));
  assert.deepEqual(texts.sort(), ['aaaaa', 'bbbbb']);
  assert.equal(await takeSoon(queue, { patienceMs: 20 }), undefined);
});

test('the same body is stored once: at the same time, later, and after a restart', async (context) => {
  const directory = await temporaryDirectory(context);
  let queue = await openIn(directory);
  const first = { ...entryOf('x'), rejected: 7, note: 'why' };
  const duplicate = { duplicate: true, rejected: 7, note: 'why' };
  assert.deepEqual(await Promise.all([queue.add(first), queue.add(entryOf('x'))]), [
    { duplicate: false },
    duplicate,
  ]);
  assert.deepEqual(await queue.add(entryOf('x')), duplicate);
  assert.deepEqual(await queue.add(entryOf('x', { tenant: 'other' })), { duplicate: false });
  assert.deepEqual(await queue.add(entryOf('x', { signal: 'logs' })), { duplicate: false });
  await queue.close();
  queue = await openIn(directory);
  assert.deepEqual(await queue.add(entryOf('x')), duplicate);
  assert.deepEqual(await drain(queue, 'logs'), ['x']);
  await queue.close();
});

test('a duplicate is known for ten minutes even when its segment is deleted and the program restarted', async (context) => {
  const directory = await temporaryDirectory(context);
  let nowMs = 1_800_000_000_000;
  const options = { segmentBytes: 500, nowMs: () => nowMs };
  let queue = await openIn(directory, options);
  for (let i = 0; i < 20; i++) {
    await queue.add(entryOf(`body ${i}`, { bytes: 300 }));
    assert.equal((await drain(queue)).length, 1);
  }
  await eventually(() => queue.stats().segments <= 2);
  nowMs += 10 * 60_000 - 1;
  for (const isRestarted of [false, true]) {
    if (isRestarted) {
      await queue.close();
      queue = await openIn(directory, options);
    }
    for (let i = 0; i < 20; i++) {
      assert.equal((await queue.add(entryOf(`body ${i}`, { bytes: 300 }))).duplicate, true, `body ${i}`);
    }
  }
  nowMs += 1;
  assert.deepEqual(await queue.add(entryOf('body 3', { bytes: 300 })), { duplicate: false });
  await queue.close();
});

test('what was planned comes first after a restart, unchanged; what was done does not come', async (context) => {
  const directory = await temporaryDirectory(context);
  let queue = await openIn(directory);
  for (const text of ['a', 'b', 'c', 'd']) await queue.add(entryOf(text));
  const limits = { maxItems: 2 };
  const planned = await takeSoon(queue, { limits });
  const done = await takeSoon(queue, { limits });
  assert.ok(planned && done);
  queue.done(done);
  await queue.add(entryOf('e'));
  await queue.close();
  queue = await openIn(directory);
  const again = await takeSoon(queue, { limits: { maxItems: 1 } });
  assert.deepEqual([again?.id, await textsOf(again)], [planned.id, ['a', 'b']]);
  assert.deepEqual([again?.attempt, again?.interruptions], [2, 1]);
  if (again) queue.done(again);
  assert.deepEqual(await drain(queue), ['e']);
  await queue.close();
});

test('retry gives the same batch later, readable again from disk', async (context) => {
  const queue = await openNew(context);
  await queue.add(entryOf('again'));
  const first = await takeSoon(queue);
  assert.ok(first);
  const body = await first.entries[0].read();
  body.fill(0);
  queue.retry(first, 80);
  assert.equal(await takeSoon(queue, { patienceMs: 30 }), undefined);
  const second = await takeSoon(queue, { patienceMs: 1000 });
  assert.ok(second);
  assert.deepEqual([second.id, second.attempt, await textsOf(second)], [first.id, 2, ['again']]);
  assert.throws(() => queue.done(first), hasCode('INTERNAL'));
  await assert.rejects(first.entries[0].read(), hasCode('UNAVAILABLE'));
  queue.done(second);
});

test('split gives two halves with new ids at once; one entry cannot be split', async (context) => {
  const queue = await openNew(context);
  for (const text of ['a', 'b', 'c']) await queue.add(entryOf(text));
  const whole = await takeSoon(queue);
  assert.ok(whole);
  await queue.split(whole);
  const [left, right] = [await takeSoon(queue), await takeSoon(queue)];
  assert.ok(left && right);
  assert.deepEqual([await textsOf(left), await textsOf(right)], [['a', 'b'], ['c']]);
  assert.equal(new Set([whole.id, left.id, right.id]).size, 3);
  await assert.rejects(queue.split(right), PermanentError);
});

test('failed entries are kept with their reason over restarts, can be retried and discarded', async (context) => {
  const directory = await temporaryDirectory(context);
  let queue = await openIn(directory);
  for (const text of ['poison', 'fine', 'junk']) await queue.add(entryOf(text));
  for (const text of ['poison', 'fine', 'junk']) {
    const batch = await takeSoon(queue, { limits: { maxItems: 1 } });
    assert.ok(batch);
    if (text === 'fine') queue.done(batch);
    else await queue.fail(batch, `it is ${text}`);
  }
  await queue.close();
  queue = await openIn(directory);
  assert.equal(await takeSoon(queue, { patienceMs: 20 }), undefined);
  const failed = await queue.failed();
  assert.deepEqual(failed.map(({ reason, items, bytes }) => [reason, items, bytes]).sort(), [
    ['it is junk', 1, 4],
    ['it is poison', 1, 6],
  ]);
  const junk = failed.filter(({ reason }) => reason === 'it is junk').map(({ id }) => id);
  assert.equal(await queue.discardFailed([...junk, 'unknown']), 1);
  assert.equal(await queue.retryFailed(), 1);
  assert.deepEqual([await drain(queue), (await queue.failed()).length], [['poison'], 0]);
  await queue.close();
});

test('refuses over the byte limit with a second to wait, and takes again when something is done', async (context) => {
  const queue = await openNew(context, { maxBacklogBytes: 20_000 });
  for (const text of ['a', 'b']) await queue.add(entryOf(text, { bytes: 9000 }));
  await assert.rejects(queue.add(entryOf('c', { bytes: 9000 })), (error) => {
    return error instanceof AppError && error.code === 'BACKLOG_FULL' && error.retryAfterSeconds === 1;
  });
  assert.equal((await drain(queue)).length, 2);
  assert.deepEqual(await queue.add(entryOf('c', { bytes: 9000 })), { duplicate: false });
});

test('tiny entries count at least 4 KiB, so that their number is bounded too', async (context) => {
  const queue = await openNew(context, { maxBacklogBytes: 10 * 4096 });
  const results = await Promise.allSettled([...Array(25).keys()].map((i) => queue.add(entryOf(`${i}`))));
  assert.equal(results.filter(({ status }) => status === 'fulfilled').length, 10);
});

test('keeps bodies in memory up to the limit only, and reads the others back right', async (context) => {
  const queue = await openNew(context, { maxMemoryBytes: 2500, segmentBytes: 4000 });
  const texts = [...Array(30).keys()].map((i) => `body ${i}`);
  for (const text of texts) await queue.add(entryOf(text, { bytes: 1000 }));
  assert.equal(queue.stats().memoryBytes, 2000);
  const batch = await takeSoon(queue);
  assert.deepEqual(await textsOf(batch), texts);
  assert.equal(queue.stats().memoryBytes, 0);
});

test('gives the memory of bodies back that are not kept in it, and of those that are over', async (context) => {
  const bodies = new BodyPool();
  const queue = await openNew(context, { maxMemoryBytes: 6000, bodies });
  for (const text of ['kept', 'on disk']) {
    await queue.add({ ...entryOf(text), body: bodies.copyOf(Buffer.alloc(5000, text)) });
  }
  assert.equal(bodies.idleBytes, 5120, 'the second is on disk alone');
  const batch = await takeSoon(queue);
  if (batch) queue.done(batch);
  assert.equal(bodies.idleBytes, 2 * 5120);
});

test('deletes segments when all in them is done, in whatever order that happens', async (context) => {
  const queue = await openNew(context, { segmentBytes: 3000 });
  for (let i = 0; i < 30; i++) await queue.add(entryOf(`${i}`, { bytes: 1000 }));
  const batches = [];
  while (queue.stats().waitingBatches < 30) batches.push(await takeSoon(queue, { limits: { maxItems: 1 } }));
  assert.ok(queue.stats().segments >= 10);
  for (const i of [29, ...Array(29).keys()].sort((a, b) => (a % 7) - (b % 7))) {
    const batch = batches[i];
    if (batch) queue.done(batch);
  }
  await eventually(() => queue.stats().segments === 1);
});

test('one stuck entry does not keep the disk: what lives beside it is moved, and survives a restart', async (context) => {
  const directory = await temporaryDirectory(context);
  let queue = await openIn(directory, { segmentBytes: 3000 });
  await queue.add(entryOf('stuck', { signal: 'logs', bytes: 500 }));
  const stuck = await takeSoon(queue, { signal: 'logs' });
  for (let i = 0; i < 60; i++) {
    await queue.add(entryOf(`${i}`, { bytes: 1000 }));
    if (i % 10 === 0) await queue.add(entryOf(`stuck ${i}`, { signal: 'metrics', bytes: 100 }));
    await drain(queue);
  }
  await eventually(() => queue.stats().diskBytes < 25_000);
  await queue.close();
  queue = await openIn(directory, { segmentBytes: 3000 });
  const again = await takeSoon(queue, { signal: 'logs' });
  assert.deepEqual([again?.id, await textsOf(again)], [stuck?.id, ['stuck']]);
  assert.deepEqual(await drain(queue, 'metrics'), [
    'stuck 0',
    'stuck 10',
    'stuck 20',
    'stuck 30',
    'stuck 40',
    'stuck 50',
  ]);
  assert.equal(queue.stats().waitingItems.traces, 0);
  await queue.close();
});

test('batch ids never repeat: not after everything was deleted, not in a copy of the directory', async (context) => {
  const directory = await temporaryDirectory(context);
  const copy = join(await temporaryDirectory(context), 'copy');
  const ids: (string | undefined)[] = [];
  for (let round = 0; round < 3; round++) {
    for (const from of round === 2 ? [directory, copy] : [directory]) {
      const queue = await openIn(from);
      await queue.add(entryOf(`round ${round}`));
      const batch = await takeSoon(queue);
      ids.push(batch?.id);
      if (batch) queue.done(batch);
      await queue.close();
    }
    if (round === 1) await cp(directory, copy, { recursive: true });
  }
  assert.equal(new Set(ids).size, 4);
  assert.equal(new Set(ids.map((id) => id?.split('-')[0])).size, 1);
});

test('close makes pending entries durable, refuses new ones, and ends waiting takers', async (context) => {
  const directory = await temporaryDirectory(context);
  const queue = await openIn(directory);
  const waiting = queue.take('logs', { ...ALL, maxAgeMs: 60_000 }, new AbortController().signal);
  const adding = queue.add(entryOf('last'));
  const closing = queue.close();
  await assert.rejects(queue.add(entryOf('late')), hasCode('SHUTTING_DOWN'));
  assert.deepEqual([await adding, await waiting], [{ duplicate: false }, undefined]);
  await closing;
  assert.equal(await queue.take('traces', ALL, new AbortController().signal), undefined);
  const reopened = await openIn(directory);
  assert.deepEqual(await drain(reopened), ['last']);
  await reopened.close();
});

test('reports what waits, by signal and tenant', async (context) => {
  const queue = await openNew(context);
  for (const [text, tenant] of ['1a', '2a', '3b']) await queue.add(entryOf(text, { tenant, bytes: 10 }));
  await takeSoon(queue);
  const waiting = queue
    .waiting()
    .map(({ signal, scope, items, bytes }) => [signal, scope.tenantId, items, bytes]);
  assert.deepEqual(waiting.sort(), [
    ['traces', 'a', 2, 20],
    ['traces', 'b', 1, 10],
  ]);
  const { waitingItems, waitingBytes, waitingEntries, waitingBatches } = queue.stats();
  assert.deepEqual([waitingItems.traces, waitingBytes, waitingEntries, waitingBatches], [3, 30, 3, 1]);
});

test('what was refused of a request is told with what waits, in the batch, and in the failed set, over restarts', async (context) => {
  const directory = await temporaryDirectory(context);
  const minuteMs = 1_800_000_000_000;
  let queue = await openIn(directory);
  const reasons = { TIME_OUT_OF_RANGE: 2, INVALID_TRACE_ID: 1 };
  await queue.add({ ...entryOf('a'), items: 5, rejected: 3, reasons });
  await queue.add({
    ...entryOf('b'),
    receivedAtMs: minuteMs + 59_999,
    rejected: 1,
    reasons: { INVALID_TRACE_ID: 1 },
  });
  await queue.add({ ...entryOf('next'), receivedAtMs: minuteMs + 60_000 });
  // As versions before the ledger wrote it.
  await queue.add({ ...entryOf('older'), receivedAtMs: minuteMs + 60_000, rejected: 4 });
  const expected = [
    { minuteMs, items: 6, reasons: { TIME_OUT_OF_RANGE: 2, INVALID_TRACE_ID: 2 } },
    { minuteMs: minuteMs + 60_000, items: 2, reasons: { NOT_RECORDED: 4 } },
  ];
  for (let starts = 0; starts < 2; starts++) {
    assert.deepEqual(
      queue.waiting().map(({ minutes }) => minutes),
      [expected],
    );
    await queue.close();
    queue = await openIn(directory);
  }
  const batch = await takeSoon(queue);
  assert.deepEqual(
    batch?.entries.map((entry) => entry.reasons),
    [reasons, { INVALID_TRACE_ID: 1 }, undefined, { NOT_RECORDED: 4 }],
  );
  await queue.fail(batch!, 'it is poison');
  assert.deepEqual(queue.waiting(), []);
  await queue.close();
  queue = await openIn(directory);
  const [first] = await queue.failed();
  assert.deepEqual(first.reasons, reasons);
  assert.equal(await queue.retryFailed([first.id]), 1);
  assert.deepEqual(queue.waiting()[0].minutes, [{ minuteMs, items: 5, reasons }]);
  await queue.close();
});

test('a discarded entry is kept until that is recorded, over a restart too, and never comes back', async (context) => {
  const directory = await temporaryDirectory(context);
  let queue = await openIn(directory);
  await queue.add(entryOf('junk'));
  const batch = await takeSoon(queue);
  await queue.fail(batch!, 'it is junk');
  const [{ id }] = await queue.failed();
  const away = () => Promise.reject(new Error('the ledger is away'));
  await assert.rejects(queue.discardFailed([id], away), /the ledger is away/);
  for (let starts = 0; starts < 2; starts++) {
    assert.deepEqual(
      (await queue.failed()).map((entry) => [entry.id, entry.isDiscarded]),
      [[id, true]],
    );
    assert.equal(await queue.retryFailed(), 0);
    await queue.close();
    queue = await openIn(directory);
  }
  const recorded: string[] = [];
  const record = async (entries: readonly { id: string }[]) => {
    recorded.push(...entries.map((entry) => entry.id));
  };
  assert.equal(await queue.discardFailed([id], record), 1);
  assert.deepEqual([recorded, await queue.failed(), queue.stats().failedBytes], [[id], [], 0]);
  await queue.close();
  queue = await openIn(directory);
  assert.deepEqual(await queue.failed(), []);
  await queue.close();
});

test('a burst of small entries shares few syncs', async (context) => {
  const queue = await openNew(context);
  await Promise.all([...Array(3000).keys()].map((i) => queue.add(entryOf(`entry ${i}`))));
  assert.ok(queue.stats().syncs < 20, `${queue.stats().syncs} syncs`);
  assert.equal((await drain(queue)).length, 3000);
});

test('leaves nothing behind in its directory but what it needs', async (context) => {
  const directory = await temporaryDirectory(context);
  const queue = await openIn(directory);
  await queue.add(entryOf('x'));
  await drain(queue);
  await queue.close();
  assert.deepEqual((await readdir(directory)).sort(), [
    'corrupt',
    'failed',
    'identity',
    'reserve',
    'seen',
    'segments',
  ]);
});
