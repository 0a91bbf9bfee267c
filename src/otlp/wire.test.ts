import assert from 'node:assert/strict';
import { isUtf8 } from 'node:buffer';
import { test } from 'node:test';
import fc from 'fast-check';
import { highBits, isUtf8Text, readLength, readVarint32, readVarint64, varint64, varintEnd } from './wire.js';

/** A varint, with `padding` more bytes than it needs. */
function encode(value: bigint, padding = 0): Uint8Array {
  const bytes: number[] = [];
  for (; value > 0x7fn; value >>= 7n) bytes.push(Number(value & 0x7fn) | 0x80);
  bytes.push(Number(value));
  for (; padding > 0; padding--) {
    bytes[bytes.length - 1] |= 0x80;
    bytes.push(0);
  }
  return Uint8Array.from(bytes);
}

const uint64 = fc.oneof(fc.bigInt(0n, 2n ** 64n - 1n), fc.bigInt(0n, 2n ** 34n), fc.bigInt(0n, 300n));

test('varints are read with all 64 bits, padded ones too', () => {
  fc.assert(
    fc.property(uint64, fc.nat({ max: 3 }), (value, padding) => {
      const bytes = encode(value, padding);
      fc.pre(bytes.length <= 10);
      assert.equal(readVarint64(bytes, 0, bytes.length), 0);
      assert.equal(varintEnd[0], bytes.length);
      const read = (BigInt(varint64[1] >>> 0) << 32n) | BigInt(varint64[0] >>> 0);
      assert.equal(read, value);
      assert.equal(BigInt(readVarint32(bytes, 0, bytes.length)), value & 0xffffffffn);
      assert.equal(readLength(bytes, 0, bytes.length), value < 2n ** 31n ? Number(value) : -1);
    }),
    { numRuns: 5000 },
  );
});

test('a varint that is cut off or longer than 10 bytes is told', () => {
  const endless = new Uint8Array(20).fill(0x80);
  for (const read of [readVarint32, readVarint64, readLength]) {
    assert.equal(read(endless, 0, 20), -1);
    varintEnd[0] = 0;
    assert.equal(read(endless, 0, 3), -1);
    assert.equal(varintEnd[0], 3, 'a reader that goes on does not go back');
    assert.equal(read(endless, 5, 5), -1);
  }
});

test('UTF-8 is told from what is not as Node tells it', () => {
  const tricky = fc.constantFrom(
    0x00,
    0x7f,
    0x80,
    0x9f,
    0xa0,
    0xbf,
    0xc0,
    0xc2,
    0xdf,
    0xe0,
    0xed,
    0xef,
    0xf0,
    0xf4,
    0xf5,
    0xff,
  );
  const bytes = fc.oneof(
    fc.array(tricky, { maxLength: 6 }).map((list) => Uint8Array.from(list)),
    fc.string({ unit: 'binary', maxLength: 400 }).map((text) => new TextEncoder().encode(text)),
    fc.uint8Array({ maxLength: 8 }),
  );
  fc.assert(
    fc.property(bytes, fc.nat({ max: 3 }), (text, shift) => {
      const all = Uint8Array.from([...new Array(shift).fill(0xff), ...text, 0xff]);
      const end = shift + text.length;
      assert.equal(isUtf8Text(all, shift, end), isUtf8(text));
      const isAscii = text.every((byte) => byte < 0x80);
      assert.equal(highBits(new DataView(all.buffer), shift, end) === 0, isAscii);
    }),
    { numRuns: 20_000 },
  );
});
