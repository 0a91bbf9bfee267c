import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { createServer, request as httpRequest } from 'node:http';
import type { AddressInfo } from 'node:net';
import { describe, it } from 'node:test';
import { deflateRawSync, deflateSync, gzipSync } from 'node:zlib';
import { AppError } from '../errors.js';
import { BodyPool } from '../memory/body-pool.js';
import { ClientGone, compressionOf, decompress, readBody } from './body.js';

const code = (expected: string) => (error: unknown) => error instanceof AppError && error.code === expected;
const MIB = 1024 * 1024;
const pool = new BodyPool();

describe('Decompression', () => {
  const plain = Buffer.concat([randomBytes(3000), Buffer.alloc(200_000, 'abc')]);

  it('undoes gzip, several gzip members, deflate and bare deflate', async () => {
    assert.deepEqual(await decompress(gzipSync(plain), 'gzip', MIB, pool), plain);
    const two = Buffer.concat([gzipSync(plain), gzipSync(plain)]);
    assert.deepEqual(await decompress(two, 'gzip', MIB, pool), Buffer.concat([plain, plain]));
    assert.deepEqual(await decompress(deflateSync(plain), 'deflate', MIB, pool), plain);
    assert.deepEqual(await decompress(deflateRawSync(plain), 'deflate', MIB, pool), plain);
    assert.equal((await decompress(gzipSync(''), 'gzip', MIB, pool)).length, 0);
  });

  it('stops a bomb at the limit', async () => {
    const bomb = gzipSync(Buffer.alloc(64 * MIB));
    assert.ok(bomb.length < 100_000);
    await assert.rejects(decompress(bomb, 'gzip', MIB, pool), code('BODY_TOO_LARGE'));
  });

  it('is not fooled by a trailer that lies about the size', async () => {
    const lying = gzipSync(Buffer.alloc(8 * MIB));
    lying.writeUInt32LE(10, lying.length - 4);
    await assert.rejects(decompress(lying, 'gzip', MIB, pool), code('BODY_TOO_LARGE'));
    await assert.rejects(decompress(lying, 'gzip', 64 * MIB, pool), code('MALFORMED_BODY'));
  });

  it('refuses what is cut off or something else', async () => {
    const whole = gzipSync(plain);
    for (const length of [0, 1, 10, 17, 18, whole.length - 1]) {
      await assert.rejects(
        decompress(whole.subarray(0, length), 'gzip', MIB, pool),
        code('MALFORMED_BODY'),
        `${length}`,
      );
    }
    await assert.rejects(decompress(plain, 'gzip', MIB, pool), code('MALFORMED_BODY'));
    await assert.rejects(decompress(plain, 'deflate', MIB, pool), code('MALFORMED_BODY'));
  });

  it('names what it cannot undo', () => {
    assert.equal(compressionOf(undefined), 'identity');
    assert.equal(compressionOf('GZIP'), 'gzip');
    assert.throws(() => compressionOf('zstd'), code('UNSUPPORTED_MEDIA_TYPE'));
  });
});

describe('Reading a body', () => {
  async function roundTrip(body: Buffer, options: { length?: number; maxBytes: number; cutAt?: number }) {
    let settle: (result: Promise<Buffer>) => void;
    const result = new Promise<Buffer>((resolve) => (settle = resolve));
    const server = createServer((request, response) => {
      const read = readBody(request, options.length, options.maxBytes, pool);
      settle(read);
      read.then(
        () => response.end(),
        () => request.destroy(),
      );
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const { port } = server.address() as AddressInfo;
    const client = httpRequest({ port, host: '127.0.0.1', method: 'POST' });
    client.on('error', () => {});
    client.on('response', (response) => response.resume());
    client.write(body.subarray(0, options.cutAt ?? body.length));
    if (options.cutAt) setTimeout(() => client.destroy(), 20);
    else client.end();
    try {
      return await result;
    } finally {
      server.closeAllConnections();
      server.close();
    }
  }

  it('is whole, with the length known and not', async () => {
    const body = randomBytes(300_000);
    assert.deepEqual(await roundTrip(body, { length: body.length, maxBytes: MIB }), body);
    assert.deepEqual(await roundTrip(body, { maxBytes: MIB }), body);
    assert.deepEqual(await roundTrip(body, { maxBytes: body.length }), body);
  });

  it('ends at the limit when the length was not announced', async () => {
    await assert.rejects(roundTrip(randomBytes(300_000), { maxBytes: 200_000 }), code('BODY_TOO_LARGE'));
  });

  it('fails when the sender hangs up in the middle', async () => {
    const sent = roundTrip(randomBytes(300_000), { length: 300_000, maxBytes: MIB, cutAt: 1000 });
    await assert.rejects(sent, ClientGone);
  });

  it('gives its memory back when it fails', async () => {
    const idle = () => pool.idleBytes;
    const body = pool.take(MIB);
    pool.give(body);
    const before = idle();
    const cut = roundTrip(randomBytes(300_000), { length: 300_000, maxBytes: MIB, cutAt: 1000 });
    await assert.rejects(cut, ClientGone);
    await assert.rejects(roundTrip(randomBytes(300_000), { maxBytes: 200_000 }), code('BODY_TOO_LARGE'));
    assert.ok(idle() >= before, `${idle()} of ${before}`);
  });
});
