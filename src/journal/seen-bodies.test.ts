import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { test } from 'node:test';
import fc from 'fast-check';
import { seeded } from '../../test/support/queue-model.js';
import { SimulatedDisk } from '../../test/support/simulated-disk.js';
import { SEEN_FOR_MS, SeenBodies } from './seen-bodies.js';
import { SeenTable } from './seen-table.js';

const START_MS = 1_800_000_000_000;

function hash(text: string): Buffer {
  return createHash('sha256').update(text).digest().subarray(0, 16);
}

test('a table finds exactly the keys that were added, however it grew', () => {
  fc.assert(
    fc.property(fc.uniqueArray(fc.nat(5000), { maxLength: 2000, size: 'max' }), (numbers) => {
      const table = new SeenTable(START_MS);
      for (const n of numbers)
        table.add({ key: hash(`${n}`), addedAtMs: START_MS + n, rejected: n, note: `n${n % 7}` });
      const isIn = new Set(numbers);
      for (let n = 0; n < 5000; n += 7) {
        const seen = table.get(hash(`${n}`));
        assert.equal(seen !== undefined, isIn.has(n));
        if (seen)
          assert.deepEqual([seen.addedAtMs, seen.rejected, seen.note], [START_MS + n, n, `n${n % 7}`]);
      }
    }),
    { numRuns: 20 },
  );
});

test('a body is seen for ten minutes, of its owner only', async () => {
  let nowMs = START_MS;
  const seen = new SeenBodies(new SimulatedDisk(seeded(1)).mount(), '/seen', () => nowMs);
  const key = seen.key('logs a', hash('x'));
  assert.equal(seen.find(key), undefined);
  seen.add({ key, addedAtMs: nowMs, rejected: 3, note: 'three' });
  assert.deepEqual(seen.find(key)?.note, 'three');
  assert.equal(seen.find(seen.key('logs b', hash('x'))), undefined);
  assert.equal(seen.find(seen.key('traces a', hash('x'))), undefined);
  nowMs += SEEN_FOR_MS - 1;
  assert.ok(seen.find(key));
  nowMs += 1;
  assert.equal(seen.find(key), undefined);
});

test('survives a power cut once persisted, forgets files when all in them is old', async () => {
  let nowMs = START_MS;
  const disk = new SimulatedDisk(seeded(2));
  const names = ['a', 'b', 'c'];
  const first = new SeenBodies(disk.mount(), '/seen', () => nowMs);
  for (const name of names) {
    first.add({
      key: first.key('logs t', hash(name)),
      addedAtMs: nowMs,
      rejected: 1,
      note: name,
    });
    nowMs += 60_000;
    await first.persist();
  }
  assert.equal(disk.paths().length, 3);
  disk.cutPower();
  const second = new SeenBodies(disk.mount(), '/seen', () => nowMs);
  await second.load(assert.fail);
  for (const name of names) assert.equal(second.find(second.key('logs t', hash(name)))?.note, name);
  await second.persist();
  assert.equal(disk.paths().length, 3, 'what is in a file is not written again');
  nowMs = START_MS + SEEN_FOR_MS + 60_000;
  await second.persist();
  assert.equal(disk.paths().length, 1);
});

test('a damaged file is named and costs only its own bodies', async () => {
  const disk = new SimulatedDisk(seeded(3));
  const first = new SeenBodies(disk.mount(), '/seen', () => START_MS);
  for (const name of ['a', 'b']) {
    first.add({ key: hash(name), addedAtMs: START_MS, rejected: 0, note: '' });
    await first.persist();
  }
  const [path] = disk.paths();
  const bytes = Buffer.from(disk.contentOf(path));
  bytes[bytes.length - 1] ^= 1;
  disk.overwrite(path, bytes);
  const damaged: string[] = [];
  const second = new SeenBodies(disk.mount(), '/seen', () => START_MS);
  await second.load((name) => damaged.push(name));
  assert.equal(damaged.length, 1);
  assert.equal([second.find(hash('a')), second.find(hash('b'))].filter(Boolean).length, 1);
});
