import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { type Packed, pack, unpack } from './cache-value.js';

const LIMIT = 1_000_000;

describe('A value of the cache', () => {
  it('comes back as it was, and frozen in depth', () => {
    fc.assert(
      fc.property(fc.jsonValue(), (value) => {
        const before = JSON.parse(JSON.stringify(value));
        const packed = pack(value, LIMIT) as Packed;
        assert.deepEqual(unpack(packed.text), before);
        assert.ok(packed.bytes >= packed.text.length);
      }),
    );
    const value = { rows: [{ labels: { host: 'a' } }] };
    const packed = pack(value, LIMIT) as Packed;
    for (const kept of [value, unpack(packed.text) as typeof value]) {
      assert.throws(() => kept.rows.push({ labels: { host: 'b' } }), TypeError);
      assert.throws(() => {
        kept.rows[0].labels.host = 'b';
      }, TypeError);
    }
  });

  it('is not kept when JSON would give back another', () => {
    const ring: Record<string, unknown> = {};
    ring.ring = ring;
    const web: unknown[] = [];
    web.push(web, web, web);
    let deep: unknown = 1;
    for (let level = 0; level < 100_000; level++) deep = [deep];
    const values = [1n, NaN, Infinity, new Date(), new Map(), new Set(), () => 1, Symbol('s'), [undefined]];
    for (const value of [...values, new URL('http://h'), Buffer.from('a'), ring, web, { toJSON: () => 1 }])
      assert.equal(pack([{ value }], LIMIT), 'not_serialisable');
    assert.equal((pack([{ value: undefined }], LIMIT) as Packed).text, '[{}]');
    assert.equal(pack(undefined, LIMIT), 'not_serialisable');
    assert.equal(pack(deep, LIMIT), 'not_serialisable');
    assert.equal(pack(JSON.parse(`${'['.repeat(400)}${']'.repeat(400)}`), LIMIT) instanceof Object, true);
    const shared = [1];
    assert.equal((pack([shared, shared], LIMIT) as Packed).text, '[[1],[1]]', 'twice the same is no ring');
  });

  it('is not kept when it is too large, which is found out before it is written out', () => {
    assert.equal(pack('x'.repeat(101), 100), 'too_large');
    assert.equal(pack('"'.repeat(60), 100), 'too_large', 'its text is longer than itself');
    assert.equal(typeof pack('x'.repeat(98), 100), 'object');
    const huge = Array.from({ length: 1000 }, () => 'x'.repeat(1_000_000));
    const startedAt = performance.now();
    assert.equal(pack(huge, LIMIT), 'too_large');
    assert.ok(performance.now() - startedAt < 100);
  });
});
