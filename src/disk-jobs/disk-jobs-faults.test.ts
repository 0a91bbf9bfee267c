import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { allQueues, MODEL_QUEUE, SMALL } from '../../test/support/jobs-model.js';
import { randomFrom } from '../../test/support/random.js';
import { SimulatedDisk } from '../../test/support/simulated-disk.js';
import { until } from '../../test/support/until.js';
import { AppError } from '../errors.js';
import type { JobInfo } from '../jobs/job-queue.js';
import { HEADER_BYTES, writeHeader } from '../journal/record.js';
import type { JournalReport } from '../journal/report.js';
import { scanJournal } from '../journal/scan.js';
import { DiskJobQueues } from './disk-jobs.js';
import type { DiskJobsOptions } from './job-startup.js';

const ALL = { offset: 0, limit: 100_000 };

function openOn(disk: SimulatedDisk, options: Partial<DiskJobsOptions> = {}): Promise<DiskJobQueues> {
  return DiskJobQueues.open({
    ...SMALL,
    directory: '/jobs',
    numbers: allQueues(),
    fs: disk.mount(),
    ...options,
  });
}

/** Adds so many jobs, called `<name>-0` and so on. */
async function add(queues: DiskJobQueues, name: string, count: number, bytes = 50): Promise<string[]> {
  const filling = 'x'.repeat(bytes);
  const jobs = Array.from({ length: count }, (_, n) => ({ id: `${name}-${n}`, payload: { n, filling } }));
  return (await queues.addAll(MODEL_QUEUE, jobs)).map(({ id }) => id);
}

const idsOf = async (queues: DiskJobQueues, state: JobInfo['state']) =>
  (await queues.list('cleanup', state, ALL)).map(({ id }) => id).sort();

async function workOff(queues: DiskJobQueues): Promise<void> {
  queues.work(MODEL_QUEUE, async () => undefined);
  await until('all done', async () => {
    const { waiting, active, delayed } = await queues.stats('cleanup');
    return waiting + active + delayed === 0;
  });
}

const segmentPaths = (disk: SimulatedDisk) => disk.paths().filter((path) => path.endsWith('.journal'));
const markerOf = (path: string) => Buffer.from(path.slice(-'0123456789abcdef.journal'.length, -8), 'hex');

/** All that outsiders can see of a queue. */
async function picture(queues: DiskJobQueues) {
  const { lagMs: _, workers: __, ...stats } = await queues.stats('cleanup');
  const states = ['waiting', 'delayed', 'completed', 'failed'] as const;
  const lists = await Promise.all(states.map((state) => queues.list('cleanup', state, ALL)));
  const jobs = lists.flat().sort((a, b) => a.id.localeCompare(b.id));
  return { stats, jobs, repeats: await queues.repeats(MODEL_QUEUE) };
}

/** A directory with jobs in all states and much that is dead, so that the next start makes a snapshot. */
async function usedDisk(): Promise<{ disk: SimulatedDisk; expected: Awaited<ReturnType<typeof picture>> }> {
  const disk = new SimulatedDisk(randomFrom(1));
  const numbers = allQueues({ keepDone: 5, tries: 1 });
  const queues = await openOn(disk, { numbers, minDeadBytes: 1e9 });
  queues.work(MODEL_QUEUE, async ({ id, payload }) => {
    if (id.startsWith('bad')) throw new Error('bad');
    return payload.n;
  });
  await add(queues, 'good', 60, 200);
  await add(queues, 'bad', 4);
  await until('over', async () => (await queues.stats('cleanup')).completed === 60);
  await until('failed', async () => (await queues.stats('cleanup')).failed === 4);
  await queues.pause('cleanup');
  await add(queues, 'wait', 12, 300);
  await queues.addAll(MODEL_QUEUE, [{ payload: { n: 1, filling: '' }, id: 'later', delayMs: 3_600_000 }]);
  await queues.repeat(MODEL_QUEUE, { key: 'each', cron: '0 3 * * *', payload: { n: 0, filling: '' } });
  await queues.retryFailed('cleanup', ['bad-1']);
  await queues.remove('cleanup', 'wait-3');
  const expected = await picture(queues);
  await queues.close(0);
  return { disk, expected };
}

for (const how of ['kill', 'cutPower'] as const) {
  test(`a snapshot that ends by ${how} after any of its steps changes nothing`, async () => {
    const numbers = allQueues({ keepDone: 5, tries: 1 });
    let steps = 0;
    let isWhole = false;
    for (; !isWhole; steps++) {
      const { disk, expected } = await usedDisk();
      const before = new Set(segmentPaths(disk));
      let left = steps;
      let isDead = false;
      disk.fault = () => {
        if (left-- > 0 || isDead) return undefined;
        isDead = true;
        queueMicrotask(() => disk[how]());
        return undefined;
      };
      const opening = openOn(disk, { numbers, minDeadBytes: 1000 });
      const isOver = () => isDead || segmentPaths(disk).every((path) => !before.has(path));
      await until('dead or shortened', isOver);
      isWhole = !isDead;
      disk.fault = () => undefined;
      // It does nothing any more, or ends in order.
      if (isWhole) await (await opening).close(0);
      else void opening.then((queues) => queues.close(0));
      const again = await openOn(disk, { numbers, minDeadBytes: 1e9 });
      assert.deepEqual(await picture(again), expected, `after step ${steps}`);
      await again.close(0);
    }
    assert.ok(steps > 20, `${steps} steps`);
  });
}

test('the journal stays short while jobs come and go, and only live ones are kept in it', async () => {
  const disk = new SimulatedDisk(randomFrom(2));
  const queues = await openOn(disk);
  await queues.addAll(MODEL_QUEUE, [{ payload: { n: 0, filling: '' }, id: 'later', delayMs: 3_600_000 }]);
  queues.work(MODEL_QUEUE, async () => undefined);
  for (let round = 0; round < 30; round++) {
    const ids = await add(queues, `round-${round}`, 20, 200);
    await until('done', async () => (await queues.stats('cleanup')).completed === (round + 1) * ids.length);
  }
  const bytes = () => segmentPaths(disk).reduce((sum, path) => sum + disk.contentOf(path).length, 0);
  await until(`${bytes()} bytes are left of 200,000`, () => bytes() < 30_000);
  await queues.close(0);
  const again = await openOn(disk);
  assert.equal((await again.find('cleanup', 'later'))?.state, 'delayed');
  assert.equal((await again.stats('cleanup')).completed, 600);
  await again.close(0);
});

test('a full disk refuses new jobs, notes what is done, and takes jobs again when there is room', async () => {
  const disk = new SimulatedDisk(randomFrom(3));
  const queues = await openOn(disk, { segmentBytes: 100_000, minDeadBytes: 1e9 });
  disk.capacityBytes = disk.usedBytes + 20_000;
  const accepted: string[] = [];
  const refused = async () => {
    for (let n = 0; n < 1000; n++) accepted.push(...(await add(queues, `job${n}`, 1, 1000)));
  };
  await assert.rejects(
    refused(),
    (error) => error instanceof AppError && error.code === 'UNAVAILABLE' && error.retryAfterSeconds === 1,
  );
  assert.ok(accepted.length > 5, `${accepted.length}`);
  await workOff(queues);
  disk.capacityBytes = Number.POSITIVE_INFINITY;
  const late = await until2(() => add(queues, 'late', 1));
  await queues.close(0);
  const again = await openOn(disk, { minDeadBytes: 1e9 });
  assert.equal((await again.stats('cleanup')).completed, accepted.length + late.length);
  await again.close(0);
});

/** What `act` gives when it first succeeds. */
async function until2<T>(act: () => Promise<T>): Promise<T> {
  let result: T | undefined;
  await until('accepted', async () => {
    result = await act().catch(() => undefined);
    return result !== undefined;
  });
  return result as T;
}

test('a job that was refused because its sync failed does not come back after a crash', async () => {
  for (let seed = 0; seed < 20; seed++) {
    const disk = new SimulatedDisk(randomFrom(seed));
    const queues = await openOn(disk);
    const kept = await add(queues, 'kept', 2);
    let isFailing = true;
    disk.fault = (operation) => (operation === 'sync' && isFailing ? { code: 'EIO' } : undefined);
    await assert.rejects(add(queues, 'refused', 2), AppError);
    isFailing = false;
    const late = await until2(() => add(queues, 'late', 1));
    disk[seed % 2 ? 'kill' : 'cutPower']();
    void queues.close(0);
    const again = await openOn(disk);
    assert.deepEqual(await idsOf(again, 'waiting'), [...kept, ...late].sort());
    await again.close(0);
  }
});

test('damage in the middle takes the jobs that lie there, is set aside and told; a torn end is cut off', async () => {
  const disk = new SimulatedDisk(randomFrom(4));
  const queues = await openOn(disk, { segmentBytes: 100_000 });
  for (let n = 0; n < 5; n++) await add(queues, `lot${n}`, 3);
  await queues.close(0);
  const [path] = segmentPaths(disk);
  const bytes = Buffer.from(disk.contentOf(path));
  const [, , third] = scanJournal(bytes, markerOf(path)).records;
  bytes[third.offset + HEADER_BYTES + 10] ^= 1;
  disk.overwrite(path, Buffer.concat([bytes, bytes.subarray(0, 50)]));
  const reports: JournalReport[] = [];
  const again = await openOn(disk, { report: (report) => reports.push(report) });
  const expected = ['lot0', 'lot1', 'lot3', 'lot4'].flatMap((lot) => [0, 1, 2].map((n) => `${lot}-${n}`));
  assert.deepEqual(await idsOf(again, 'waiting'), expected);
  assert.deepEqual(reports.map(({ kind }) => kind).sort(), ['damaged', 'torn']);
  assert.ok(disk.paths().some((name) => name.startsWith('/jobs/corrupt/')));
  await again.close(0);
});

test('an event of a newer version keeps its file, and what is understood counts', async () => {
  const disk = new SimulatedDisk(randomFrom(5));
  const queues = await openOn(disk);
  await add(queues, 'old', 2);
  await queues.close(0);
  const [path] = segmentPaths(disk);
  const payload = [Buffer.from('[["tomorrow",1]]')];
  const header = Buffer.alloc(HEADER_BYTES);
  writeHeader(header, 0, { marker: markerOf(path), type: 1, id: 99, payload });
  disk.overwrite(path, Buffer.concat([disk.contentOf(path), header, ...payload]));
  const reports: JournalReport[] = [];
  const again = await openOn(disk, { minDeadBytes: 0, report: (report) => reports.push(report) });
  assert.equal(reports[0].kind, 'unknown');
  await workOff(again);
  await add(again, 'more', 30, 200);
  await until('the others go', () => segmentPaths(disk).length <= 4);
  await again.close(0);
  assert.ok(disk.paths().includes(path));
  const third = await openOn(disk);
  const { waiting, active, completed } = await third.stats('cleanup');
  assert.equal(waiting + active + completed, 32, 'nothing of the kept file came back');
  await third.close(0);
});

test('a job is poison only after the process died twice in a row while it ran', async () => {
  const disk = new SimulatedDisk(randomFrom(6));
  let queues = await openOn(disk);
  await add(queues, 'job', 1);
  const runAndDie = async () => {
    let isRunning = false;
    queues.work(MODEL_QUEUE, () => {
      isRunning = true;
      return new Promise(() => undefined);
    });
    await until('running', () => isRunning);
    disk.kill();
    void queues.close(0);
    queues = await openOn(disk);
  };
  const state = async () => (await queues.find('cleanup', 'job-0'))?.state;
  await runAndDie();
  assert.equal(await state(), 'waiting');
  // A death without it, and starts that are interrupted, count nothing.
  disk.kill();
  void queues.close(0);
  queues = await openOn(disk);
  assert.equal(await state(), 'waiting');
  // A try that ends breaks the row.
  let hasFailed = false;
  queues.work(MODEL_QUEUE, async () => {
    hasFailed = true;
    await queues.pause('cleanup');
    throw new Error('not now');
  });
  await until('failed', async () => hasFailed && (await state()) !== 'active');
  await queues.close(0);
  queues = await openOn(disk);
  await queues.resume('cleanup');
  await runAndDie();
  assert.equal(await state(), 'waiting');
  await runAndDie();
  assert.equal(await state(), 'failed');
  assert.match((await queues.find('cleanup', 'job-0'))?.reason ?? '', /died/);
  assert.equal((await queues.stats('cleanup')).failures, 1);
  assert.equal(await queues.retryFailed('cleanup'), 1);
  await workOff(queues);
  assert.equal(await state(), 'completed');
  await queues.close(0);
});

test('jobs run though nothing can be noted of which run', async () => {
  const disk = new SimulatedDisk(randomFrom(7));
  const reports: JournalReport[] = [];
  disk.fault = (_, path) => (path.startsWith('/jobs/running') ? { code: 'EIO' } : undefined);
  const queues = await openOn(disk, { report: (report) => reports.push(report) });
  await add(queues, 'job', 3);
  await workOff(queues);
  assert.ok(reports.some((report) => report.kind === 'problem'));
  await queues.close(0);
});

test('closing ends even when the disk takes nothing any more', async () => {
  const disk = new SimulatedDisk(randomFrom(8));
  const queues = await openOn(disk);
  await add(queues, 'job', 3);
  await workOff(queues);
  disk.fault = (operation) => (operation === 'writev' ? { code: 'EIO' } : undefined);
  const paused = assert.rejects(queues.pause('cleanup'), AppError);
  await sleep(20);
  await queues.close(0);
  await paused;
});
