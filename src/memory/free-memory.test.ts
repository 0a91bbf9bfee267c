import assert from 'node:assert/strict';
import { it } from 'node:test';
import { freeMemory } from './free-memory.js';

it('memory that nobody else looks at is given back at once', () => {
  const chunk = Buffer.allocUnsafeSlow(64 * 1024);
  freeMemory(chunk);
  assert.equal(chunk.length, 0);
  const before = process.memoryUsage().arrayBuffers;
  for (let i = 0; i < 1000; i++) freeMemory(Buffer.allocUnsafeSlow(1024 * 1024));
  assert.ok(process.memoryUsage().arrayBuffers - before < 10e6);
});

it('memory that holds more than the bytes, is shared, or is small, stays', () => {
  const larger = Buffer.allocUnsafeSlow(64 * 1024).subarray(1);
  const shared = Buffer.from(new SharedArrayBuffer(64 * 1024));
  const small = Buffer.allocUnsafeSlow(100);
  for (const bytes of [larger, shared, small]) {
    const { length } = bytes;
    freeMemory(bytes);
    assert.equal(bytes.length, length);
  }
});
