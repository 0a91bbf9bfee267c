import assert from 'node:assert/strict';
import { describe, it, mock } from 'node:test';
import { BodyPool, pieceBytes } from './body-pool.js';

describe('The body pool', () => {
  it('lends the same memory again, as long as was asked for', () => {
    const pool = new BodyPool();
    const first = pool.take(300_000);
    pool.give(first);
    const second = pool.take(290_000);
    assert.equal(second.buffer, first.buffer);
    assert.equal(second.length, 290_000);
    assert.equal(second.byteOffset, 0);
  });

  it('never lends a piece to two at a time, however often the first one gives it back', () => {
    const pool = new BodyPool();
    const body = pool.take(10_000);
    pool.give(body.subarray(5, 100));
    assert.notEqual(pool.take(10_000).buffer, body.buffer, 'a part is not the body');
    pool.give(body);
    const again = pool.take(10_000);
    assert.equal(again.buffer, body.buffer);
    pool.give(body);
    assert.notEqual(pool.take(10_000).buffer, again.buffer);
  });

  it('takes a part that was cut off in place of the whole', () => {
    const pool = new BodyPool();
    const body = pool.take(10_000);
    const part = pool.slice(pool.slice(body, 1000, 9000), 10, 20);
    assert.deepEqual([part.byteOffset, part.length], [1010, 10]);
    pool.give(body);
    assert.equal(pool.idleBytes, 0);
    assert.equal(pool.lentBytes, 10_240);
    pool.give(part);
    assert.equal(pool.lentBytes, 0);
    assert.equal(pool.take(10_000).buffer, body.buffer);
  });

  it('does not take what it has not lent', () => {
    const pool = new BodyPool();
    pool.give(Buffer.alloc(4096));
    pool.give(new Uint8Array(new SharedArrayBuffer(4096)));
    assert.equal(pool.idleBytes, 0);
  });

  it('wastes at most a quarter of what was asked for, above the smallest piece', () => {
    for (let bytes = 1; bytes < 1e9; bytes = Math.ceil(bytes * 1.01) + 1) {
      const piece = pieceBytes(bytes);
      assert.ok(piece >= bytes && (piece === 4096 || piece <= bytes * 1.25), `${bytes} in ${piece}`);
    }
  });

  it('keeps the bytes when a body grows, and gives the smaller memory back', () => {
    const pool = new BodyPool();
    const body = pool.take(5000);
    body.write('hello');
    const larger = pool.grow(body, 5, 9000);
    assert.equal(larger.toString('latin1', 0, 5), 'hello');
    assert.equal(pool.take(5000).buffer, body.buffer);
  });

  it('gives memory up when nobody wants it, and keeps what is in use again and again', () => {
    mock.timers.enable({ apis: ['setInterval'] });
    const pool = new BodyPool();
    const bodies = Array.from({ length: 64 }, () => pool.take(100_000));
    for (const body of bodies) pool.give(body);
    const peak = pool.idleBytes;
    for (let round = 0; round < 20; round++) {
      const inUse = Array.from({ length: 8 }, () => pool.take(100_000));
      for (const body of inUse) pool.give(body);
      mock.timers.tick(5000);
    }
    assert.ok(pool.idleBytes >= peak / 8 && pool.idleBytes < peak / 4, `${pool.idleBytes} of ${peak}`);
    mock.timers.tick(5000 * 100);
    assert.equal(pool.idleBytes, 0);
    mock.timers.reset();
  });
});
