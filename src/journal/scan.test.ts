import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { test } from 'node:test';
import fc from 'fast-check';
import { HEADER_BYTES, RECORD_VERSION, writeHeader } from './record.js';
import { scanJournal } from './scan.js';

const MARKER = Buffer.from('a1b2c3d4e5f60718', 'hex');

function recordBytes(id: number, payload: Uint8Array, version = RECORD_VERSION): Buffer<ArrayBuffer> {
  const header = Buffer.alloc(HEADER_BYTES);
  writeHeader(header, 0, { marker: MARKER, type: 1, id, payload: [payload], version });
  return Buffer.concat([header, payload]);
}

const PAYLOADS = [randomBytes(100), Buffer.alloc(0), randomBytes(3), Buffer.alloc(40), randomBytes(200)];
const RECORDS = PAYLOADS.map((payload, id) => recordBytes(id, payload));
const JOURNAL = Buffer.concat(RECORDS);

function idsIn(bytes: Buffer<ArrayBuffer>): number[] {
  return scanJournal(bytes, MARKER).records.map((record) => record.id);
}

test('reads back what was written, of any size and with ids beyond 32 bits', () => {
  fc.assert(
    fc.property(
      fc.array(fc.tuple(fc.maxSafeNat(), fc.uint8Array({ maxLength: 300 })), { maxLength: 20 }),
      (records) => {
        const bytes = Buffer.concat(records.map(([id, payload]) => recordBytes(id, payload)));
        const scan = scanJournal(bytes, MARKER);
        assert.deepEqual(
          scan.records.map(({ id, payload }) => [id, new Uint8Array(payload)]),
          records.map(([id, payload]) => [id, new Uint8Array(payload)]),
        );
        assert.deepEqual([scan.damaged, scan.torn], [[], undefined]);
      },
    ),
  );
});

test('keeps every whole record before a write torn at any offset, and calls the rest torn', () => {
  const ends = RECORDS.map((_, i) => Buffer.concat(RECORDS.slice(0, i + 1)).length);
  for (let cut = 0; cut < JOURNAL.length; cut++) {
    const scan = scanJournal(JOURNAL.subarray(0, cut), MARKER);
    const whole = ends.filter((end) => end <= cut);
    const start = whole.at(-1) ?? 0;
    assert.equal(scan.records.length, whole.length, `cut at ${cut}`);
    assert.deepEqual(scan.damaged, []);
    assert.deepEqual(scan.torn, cut === start ? undefined : { offset: start, bytes: cut - start });
  }
});

test('loses only the record in which a bit flipped, wherever that is', () => {
  let offset = 0;
  RECORDS.forEach((record, victim) => {
    for (let bit = 0; bit < record.length * 8; bit++) {
      const bytes = Buffer.from(JOURNAL);
      bytes[offset + (bit >> 3)] ^= 1 << (bit & 7);
      const scan = scanJournal(bytes, MARKER);
      const expected = RECORDS.map((_, id) => id).filter((id) => id !== victim);
      assert.deepEqual(
        scan.records.map(({ id }) => id),
        expected,
        `bit ${bit} of record ${victim}`,
      );
      const lost = [...scan.damaged, ...(scan.torn ? [scan.torn] : [])];
      assert.deepEqual(lost, [{ offset, bytes: record.length }]);
    }
    offset += record.length;
  });
});

test('goes on after zeroed pages, cut-out and inserted bytes', () => {
  fc.assert(
    fc.property(
      fc.nat(JOURNAL.length),
      fc.nat(300),
      fc.constantFrom('zero', 'cut', 'insert'),
      (at, count, how) => {
        const end = Math.min(JOURNAL.length, at + count);
        const middle = { zero: Buffer.alloc(end - at), cut: Buffer.alloc(0), insert: randomBytes(count) }[
          how
        ];
        const bytes = Buffer.concat([
          JOURNAL.subarray(0, at),
          middle,
          JOURNAL.subarray(how === 'insert' ? at : end),
        ]);
        const found = idsIn(bytes);
        let offset = 0;
        RECORDS.forEach((record, id) => {
          const isTouched = offset < end && offset + record.length > at && (how !== 'insert' || offset < at);
          if (!isTouched) assert.ok(found.includes(id), `record ${id} after ${how} at ${at}+${count}`);
          offset += record.length;
        });
      },
    ),
  );
});

test('never takes bytes in a body for a record when it skips a damaged place', () => {
  const foreign = Buffer.from('0000000000000001', 'hex');
  const forged = Buffer.alloc(HEADER_BYTES);
  writeHeader(forged, 0, { marker: foreign, type: 1, id: 666, payload: [] });
  const outer = recordBytes(1, forged);
  outer[3] ^= 1;
  assert.deepEqual(idsIn(Buffer.concat([outer, recordBytes(2, Buffer.alloc(1))])), [2]);
});

test('hands out records of unknown versions', () => {
  const scan = scanJournal(recordBytes(7, Buffer.from('new'), 99), MARKER);
  assert.deepEqual(
    scan.records.map(({ id, version }) => [id, version]),
    [[7, 99]],
  );
});

test('finds nothing in empty files and in zeros', () => {
  assert.deepEqual(scanJournal(Buffer.alloc(0), MARKER), { records: [], damaged: [], torn: undefined });
  assert.deepEqual(scanJournal(Buffer.alloc(99), MARKER).torn, { offset: 0, bytes: 99 });
});
