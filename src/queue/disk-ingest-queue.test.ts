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
import { AppError } from '../errors.js';
import { BodyPool } from '../memory/body-pool.js';
import { DiskIngestQueue } from './disk-ingest-queue.js';
import type { IngestBatch } from './ingest-queue.js';
import { ingestQueueSuite } from './ingest-queue.suite.js';
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

ingestQueueSuite('on disk', async (context) => {
  const directory = await temporaryDirectory(context);
  return (options) => openIn(directory, options);
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

test('a process that ends with a batch is counted until an insert began', async (context) => {
  const directory = await temporaryDirectory(context);
  let queue = await openIn(directory);
  await queue.add(entryOf('a'));
  let at = directory;
  /** As a kill leaves the directory. */
  const killed = async () => {
    const copy = join(await temporaryDirectory(context), 'copy');
    await cp(at, copy, { recursive: true });
    await queue.close();
    at = copy;
    queue = await openIn(copy);
    return (await takeSoon(queue, { patienceMs: 5000 }))!;
  };
  const said = ({ attempt, interruptions }: IngestBatch) => [attempt, interruptions];
  const first = (await takeSoon(queue, { patienceMs: 5000 }))!;
  assert.deepEqual(said(first), [1, 0]);
  assert.deepEqual(said(await killed()), [2, 1]);
  let batch = await killed();
  assert.deepEqual(said(batch), [3, 2]);
  await queue.beginInsert(batch);
  batch = await killed();
  assert.deepEqual([batch.id, batch.interruptions], [first.id, 2], 'its insert had begun');
  await queue.close();
  queue = await openIn(at);
  assert.equal((await takeSoon(queue, { patienceMs: 5000 }))?.interruptions, 2, 'an orderly stop is none');
  await queue.close();
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
