import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { open, readdir, readFile, rm, statfs, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { drain, entryOf, takeSoon, temporaryDirectory, textsOf } from '../../test/support/queue-entries.js';
import { seeded } from '../../test/support/queue-model.js';
import { SimulatedDisk } from '../../test/support/simulated-disk.js';
import { AppError } from '../errors.js';
import { HEADER_BYTES, writeHeader } from '../journal/record.js';
import type { JournalReport } from '../journal/report.js';
import { scanJournal } from '../journal/scan.js';
import { DiskIngestQueue } from './disk-ingest-queue.js';
import { RecordType } from './queue-records.js';
import type { DiskQueueOptions } from './queue-startup.js';

const SMALL = { maxBacklogBytes: 1e9, reserveBytes: 20_000, segmentBytes: 20_000, lazyMs: 1, retryMs: 0 };
const isDiskFull = (error: unknown) =>
  error instanceof AppError && error.code === 'DISK_FULL' && error.retryAfterSeconds === 1;

function openOn(disk: SimulatedDisk, options: Partial<DiskQueueOptions> = {}): Promise<DiskIngestQueue> {
  return DiskIngestQueue.open({ ...SMALL, directory: '/queue', fs: disk.mount(), ...options });
}

/** Adds bodies until one is refused; returns the accepted ones. */
async function fill(queue: DiskIngestQueue, bytes: number, name: string, most = 10_000): Promise<string[]> {
  const texts: string[] = [];
  for (let i = 0; i < most; i++) {
    const text = `${name} ${i}`;
    const isAccepted = await queue.add(entryOf(text, { bytes })).then(
      () => true,
      (error) => {
        assert.ok(isDiskFull(error), String(error));
        return false;
      },
    );
    if (!isAccepted) break;
    texts.push(text);
  }
  return texts;
}

/** The one segment that has records, with its marker. */
async function segmentIn(
  directory: string,
): Promise<{ path: string; bytes: Buffer<ArrayBuffer>; marker: Buffer }> {
  for (const name of await readdir(join(directory, 'segments'))) {
    const path = join(directory, 'segments', name);
    const bytes = Buffer.from(await readFile(path));
    if (bytes.length > 0) return { path, bytes, marker: Buffer.from(name.slice(11, 27), 'hex') };
  }
  throw new Error('No segment with records');
}

test('a full disk refuses, keeps what it acknowledged, drains, and takes again without a restart', async () => {
  const disk = new SimulatedDisk(seeded(1));
  const queue = await openOn(disk);
  disk.capacityBytes = disk.usedBytes + 50_000;
  const before = await fill(queue, 3000, 'before');
  assert.ok(before.length >= 14, `${before.length}`);
  await assert.rejects(queue.add(entryOf('refused', { bytes: 9000 })), isDiskFull);
  disk.capacityBytes = disk.usedBytes;
  assert.deepEqual(await drain(queue), before);
  for (let i = 0; i < 100 && queue.stats().segments > 1; i++) await sleep(5);
  const after = await fill(queue, 3000, 'after', 3);
  assert.equal(after.length, 3);
  assert.equal(queue.stats().diskFull, false);
  disk.cutPower();
  disk.capacityBytes = Number.POSITIVE_INFINITY;
  assert.deepEqual(await drain(await openOn(disk)), after);
});

test('no room at any single write loses nothing that was acknowledged', async () => {
  for (let full = 0; full < 12; full++) {
    const disk = new SimulatedDisk(seeded(full));
    let queue = await openOn(disk);
    let writes = 0;
    disk.fault = (operation) => {
      if (operation !== 'writev' || writes++ !== full) return undefined;
      return { code: ['ENOSPC', 'EDQUOT', 'EFBIG', 'EIO'][full % 4], afterBytes: full * 40 };
    };
    const accepted: string[] = [];
    for (let i = 0; i < 10; i++) {
      const text = `body ${i}`;
      await queue.add(entryOf(text, { bytes: 500 })).then(
        () => accepted.push(text),
        (error) => assert.ok(isDiskFull(error)),
      );
      if (i === 4) assert.ok(await takeSoon(queue, { limits: { maxItems: 2 } }));
    }
    assert.ok(accepted.length >= 9, `${accepted.length} accepted with a fault at write ${full}`);
    disk.cutPower();
    queue = await openOn(disk);
    assert.deepEqual(await drain(queue), accepted, `fault at write ${full}`);
  }
});

test('a start on a full disk succeeds, refuses, and takes when there is room', async () => {
  const disk = new SimulatedDisk(seeded(5));
  const first = await openOn(disk);
  await first.add(entryOf('kept'));
  await first.close();
  disk.kill();
  disk.capacityBytes = disk.usedBytes;
  const queue = await openOn(disk, { reserveBytes: 30_000 });
  await assert.rejects(queue.add(entryOf('no room')), isDiskFull);
  disk.capacityBytes = Number.POSITIVE_INFINITY;
  assert.deepEqual(await queue.add(entryOf('room')), { duplicate: false });
  assert.deepEqual(await drain(queue), ['kept', 'room']);
});

test('after a failed fdatasync the segment is not written again and nothing unsynced was acknowledged', async () => {
  const disk = new SimulatedDisk(seeded(2));
  const queue = await openOn(disk);
  await queue.add(entryOf('before'));
  const [sealed] = disk.paths().filter((path) => path.endsWith('.journal'));
  disk.fault = (operation) => (operation === 'sync' ? { code: 'EIO' } : undefined);
  await assert.rejects(queue.add(entryOf('lost')), isDiskFull);
  const size = disk.contentOf(sealed).length;
  disk.fault = () => undefined;
  for (const text of ['lost', 'after'])
    assert.deepEqual(await queue.add(entryOf(text)), { duplicate: false });
  assert.equal(disk.contentOf(sealed).length, size);
  disk.kill();
  assert.deepEqual(await drain(await openOn(disk)), ['before', 'lost', 'after'], 'each once');
});

test('a duplicate of a body that could not be written is tried itself', async () => {
  const disk = new SimulatedDisk(seeded(3));
  const queue = await openOn(disk);
  let failures = 1;
  disk.fault = (operation) => (operation === 'writev' && failures-- > 0 ? { code: 'ENOSPC' } : undefined);
  const results = await Promise.allSettled([1, 2, 3].map(() => queue.add(entryOf('same'))));
  const outcomes = results.map((result) =>
    result.status === 'fulfilled' ? result.value.duplicate : 'refused',
  );
  assert.deepEqual(outcomes, ['refused', false, true]);
  assert.deepEqual(await drain(queue), ['same']);
});

test('a disk that hangs refuses before memory grows', async () => {
  const disk = new SimulatedDisk(seeded(4));
  const queue = await openOn(disk, { maxPendingBytes: 50_000 });
  disk.kill();
  const codes: string[] = [];
  for (let i = 0; i < 100; i++) {
    queue.add(entryOf(`${i}`, { bytes: 1000 })).catch((error: AppError) => codes.push(error.code));
  }
  await sleep(20);
  assert.ok(codes.length >= 50, `${codes.length} refused`);
  assert.deepEqual([...new Set(codes)], ['BACKLOG_FULL']);
});

async function damage(context: TestContext, change: (bytes: Buffer<ArrayBuffer>, offset: number) => void) {
  const directory = await temporaryDirectory(context);
  const reports: JournalReport[] = [];
  const options = {
    ...SMALL,
    segmentBytes: 1e6,
    directory,
    report: (report: JournalReport) => reports.push(report),
  };
  const first = await DiskIngestQueue.open(options);
  for (const text of ['a', 'b', 'c', 'd']) await first.add(entryOf(text, { bytes: 100 }));
  await first.close();
  const { path, bytes, marker } = await segmentIn(directory);
  change(bytes, scanJournal(bytes, marker).records[1].offset);
  await writeFile(path, bytes);
  return { directory, options, reports };
}

const DAMAGES: Record<string, (bytes: Buffer, offset: number) => void> = {
  'a flipped bit in a body': (bytes, offset) => {
    bytes[offset + 300] ^= 4;
  },
  'a wrong length': (bytes, offset) => {
    bytes.writeUInt32LE(0xffff_ffff, offset + 8);
  },
  'zeros over a header': (bytes, offset) => {
    bytes.fill(0, offset, offset + HEADER_BYTES);
  },
};

for (const [how, change] of Object.entries(DAMAGES)) {
  test(`${how} costs that entry only, is set aside once, and never stops the start`, async (context) => {
    const { directory, options, reports } = await damage(context, change);
    let queue = await DiskIngestQueue.open(options);
    assert.equal(queue.stats().corruptRecords, 1);
    const [report] = reports;
    assert.ok(report.kind === 'damaged' && report.savedAs);
    const saved = await readFile(report.savedAs);
    assert.equal(saved.length, report.bytes);
    assert.ok((await readdir(join(directory, 'corrupt'))).length === 1);
    await queue.close();
    queue = await DiskIngestQueue.open(options);
    assert.equal(reports.length, 1, 'not reported again');
    assert.deepEqual(await drain(queue), ['a', 'c', 'd']);
    await queue.close();
  });
}

test('an entry that is damaged while the program runs fails alone', async (context) => {
  const directory = await temporaryDirectory(context);
  const queue = await DiskIngestQueue.open({ ...SMALL, segmentBytes: 1e6, directory, maxMemoryBytes: 0 });
  for (const text of ['a', 'b', 'c']) await queue.add(entryOf(text, { bytes: 100 }));
  const { path, bytes, marker } = await segmentIn(directory);
  const file = await open(path, 'r+');
  await file.write(Buffer.from('!'), 0, 1, scanJournal(bytes, marker).records[1].offset + 300);
  await file.close();
  const batches = [];
  for (let i = 0; i < 3; i++) batches.push(await takeSoon(queue, { limits: { maxItems: 1 } }));
  assert.deepEqual([await textsOf(batches[0]), await textsOf(batches[2])], [['a'], ['c']]);
  await assert.rejects(textsOf(batches[1]), { name: 'PermanentError' });
  if (batches[1]) await queue.fail(batches[1], 'damaged');
  assert.equal((await queue.failed())[0].reason, 'damaged');
  await queue.close();
});

test('pages that the disk cannot read cost only what is in them', async () => {
  const disk = new SimulatedDisk(seeded(7));
  const queue = await openOn(disk);
  for (let i = 0; i < 8; i++) await queue.add(entryOf(`body ${i}`, { bytes: 3000 }));
  disk.kill();
  let pages = 0;
  disk.fault = (operation, _path, bytes) => {
    const isBad = operation === 'read' && (bytes > 4096 || pages++ === 0);
    return isBad ? { code: 'EIO' } : undefined;
  };
  const reopened = await openOn(disk);
  disk.fault = () => undefined;
  const texts = await drain(reopened);
  assert.deepEqual(texts, ['body 2', 'body 3', 'body 4', 'body 5', 'body 6', 'body 7']);
  assert.equal(reopened.stats().corruptRecords, 1);
});

test('a record of a newer program is kept and reported, and so is its segment', async (context) => {
  const directory = await temporaryDirectory(context);
  const reports: JournalReport[] = [];
  const options = { ...SMALL, directory, report: (report: JournalReport) => void reports.push(report) };
  let queue = await DiskIngestQueue.open(options);
  await queue.add(entryOf('mine'));
  await queue.close();
  const { path, bytes, marker } = await segmentIn(directory);
  for (const [type, version] of [
    [RecordType.entry, 9],
    [77, 1],
  ]) {
    const header = Buffer.alloc(HEADER_BYTES);
    writeHeader(header, 0, { marker, type, version, id: 1000, payload: [Buffer.from('newer')] });
    await writeFile(path, Buffer.concat([header, Buffer.from('newer')]), { flag: 'a' });
  }
  for (let start = 0; start < 2; start++) {
    queue = await DiskIngestQueue.open(options);
    assert.equal(queue.stats().unknownRecords, 2);
    await drain(queue);
    await queue.close();
  }
  assert.deepEqual((await readFile(path)).subarray(0, bytes.length), bytes);
  assert.deepEqual(
    reports.map((report) => report.kind === 'unknown' && [report.type, report.version]).slice(0, 2),
    [
      [RecordType.entry, 9],
      [77, 1],
    ],
  );
});

test('a lost plan gives the entries again under a new id, a lost done record the batch with its id', async (context) => {
  for (const lost of ['plan', 'done'] as const) {
    const directory = await temporaryDirectory(context);
    const options = { ...SMALL, directory };
    let queue = await DiskIngestQueue.open(options);
    await queue.add(entryOf('x'));
    const batch = await takeSoon(queue);
    if (batch && lost === 'done') queue.done(batch);
    await queue.close();
    const { path, bytes, marker } = await segmentIn(directory);
    // An orderly stop writes the plan once more.
    const records = scanJournal(bytes, marker).records.filter(({ type }) => type === RecordType[lost]);
    assert.ok(records.length > 0);
    for (const { offset } of records) bytes[offset + HEADER_BYTES] ^= 1;
    await writeFile(path, bytes);
    queue = await DiskIngestQueue.open(options);
    const again = await takeSoon(queue);
    assert.deepEqual([await textsOf(again), again?.id === batch?.id], [['x'], lost === 'done']);
    await queue.close();
  }
});

test('starts with empty files, foreign files and without its identity', async (context) => {
  const directory = await temporaryDirectory(context);
  let queue = await DiskIngestQueue.open({ ...SMALL, directory });
  await queue.add(entryOf('x'));
  await queue.close();
  await writeFile(join(directory, 'segments', '0000000099-0011223344556677.journal'), '');
  await writeFile(join(directory, 'segments', 'README'), 'not mine');
  await writeFile(join(directory, 'failed', 'half.failed'), 'TF');
  await rm(join(directory, 'identity'));
  queue = await DiskIngestQueue.open({ ...SMALL, directory });
  assert.deepEqual(await drain(queue), ['x']);
  await queue.add(entryOf('y'));
  assert.deepEqual(await drain(queue), ['y']);
  await queue.close();
});

/** A file system of 4 MiB at `path`; false where this user may not mount one. */
function mountSmall(path: string): boolean {
  try {
    execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=4m', 'tmpfs', path], { stdio: 'ignore' });
    return true;
  } catch {
    return false;
  }
}

test('a really full disk (4 MiB, or a simulated one where none can be mounted) behaves the same', async (context) => {
  const directory = await temporaryDirectory(context);
  const isMounted = mountSmall(directory);
  try {
    await fillAndDrain(directory, isMounted);
  } finally {
    if (isMounted) execFileSync('umount', ['-l', directory]);
  }
});

async function fillAndDrain(directory: string, isMounted: boolean): Promise<void> {
  const disk = new SimulatedDisk(seeded(6));
  disk.capacityBytes = 4 * 1024 * 1024;
  const fs = isMounted ? {} : { fs: disk.mount() };
  const options = { ...SMALL, directory, reserveBytes: 300_000, segmentBytes: 500_000, ...fs };
  let queue = await DiskIngestQueue.open(options);
  const accepted = await fill(queue, 30_000, 'body');
  assert.ok(accepted.length > 80 && accepted.length < 140, `${accepted.length} accepted`);
  if (isMounted) assert.ok((await statfs(directory)).bavail * 4096 < 400_000, 'the disk is not full');
  await queue.close();
  queue = await DiskIngestQueue.open(options);
  await assert.rejects(queue.add(entryOf('one more', { bytes: 200_000 })), isDiskFull);
  const drained: string[] = [];
  while (queue.stats().waitingEntries > 0) {
    const batch = await takeSoon(queue, { limits: { maxItems: 7 }, patienceMs: 2000 });
    drained.push(...(await textsOf(batch)));
    if (batch) queue.done(batch);
  }
  assert.deepEqual(drained, accepted);
  for (let i = 0; i < 200 && queue.stats().segments > 1; i++) await sleep(10);
  assert.ok((await fill(queue, 30_000, 'again', 50)).length === 50);
  await queue.close();
}
