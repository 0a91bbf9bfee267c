import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { deflateRawSync, deflateSync, gzipSync } from 'node:zlib';
import { SIGNALS } from '../src/signal.js';
import { queryEachSignal, TABLES } from './support/engine.js';
import { call, getJson } from './support/http.js';
import { ITEMS, logRecord, requestOf, span } from './support/items.js';
import {
  CONTENT_TYPES,
  ENCODINGS,
  encode,
  portsOf,
  readRefusal,
  readSuccess,
  sendOtlp,
} from './support/otlp-client.js';
import { makeDataDir, Server } from './support/server.js';

const MIB = 1024 * 1024;
const REFUSED = 'must-not-be-stored';

/** 1 GiB of zeros in 1 MiB: 16 gzip members, or one zlib stream of a quarter of it. */
const zeros = Buffer.alloc(64 * MIB);
const gzipMember = gzipSync(zeros, { level: 9 });
const gzipBomb = Buffer.concat(Array<Buffer>(16).fill(gzipMember));
const lyingGzipBomb = Buffer.concat([gzipBomb, gzipSync('x')]);
const deflateBomb = deflateSync(Buffer.alloc(256 * MIB), { level: 9 });

const refusedTraces = (encoding: 'protobuf' | 'json') =>
  encode('traces', encoding, requestOf('traces', [span(REFUSED)]));

interface BadRequest {
  what: string;
  status: number;
  code: number;
  message: RegExp;
  body?: Uint8Array | string;
  headers?: Record<string, string>;
  chunkBytes?: number;
}

/** What is wrong whatever the encoding. */
const BAD_COMPRESSION: BadRequest[] = [
  {
    what: 'gzip that is cut off',
    ...{ status: 400, code: 3, message: /not whole, valid gzip/ },
    headers: { 'content-encoding': 'gzip' },
    body: gzipSync(refusedTraces('protobuf')).subarray(0, -9),
  },
  {
    what: 'a body that is not gzip though the header says so',
    ...{ status: 400, code: 3, message: /not whole, valid gzip/ },
    headers: { 'content-encoding': 'gzip' },
    body: refusedTraces('protobuf'),
  },
  {
    what: 'deflate that is cut off',
    ...{ status: 400, code: 3, message: /not whole, valid deflate/ },
    headers: { 'content-encoding': 'deflate' },
    body: deflateSync(refusedTraces('protobuf')).subarray(0, -6),
  },
  {
    what: 'an unknown Content-Encoding',
    ...{ status: 415, code: 3, message: /br is not supported; use gzip, deflate/ },
    headers: { 'content-encoding': 'br' },
    body: refusedTraces('protobuf'),
  },
  {
    what: 'a gzip bomb',
    ...{ status: 413, code: 8, message: /larger than the allowed \d+ bytes/ },
    headers: { 'content-encoding': 'gzip' },
    body: gzipBomb,
  },
  {
    what: 'a gzip bomb that lies about its size, in chunks',
    ...{ status: 413, code: 8, message: /larger than the allowed \d+ bytes/ },
    headers: { 'content-encoding': 'gzip' },
    body: lyingGzipBomb,
    chunkBytes: 64 * 1024,
  },
  {
    what: 'a deflate bomb',
    ...{ status: 413, code: 8, message: /larger than the allowed \d+ bytes/ },
    headers: { 'content-encoding': 'deflate' },
    body: deflateBomb,
  },
  {
    what: 'a body over the limit',
    ...{ status: 413, code: 8, message: /larger than the allowed 16777216 bytes; send smaller/ },
    body: Buffer.alloc(16 * MIB + 1, 0x20),
  },
  {
    what: 'a body over the limit, in chunks without a length',
    ...{ status: 413, code: 8, message: /larger than the allowed 16777216 bytes; send smaller/ },
    body: Buffer.alloc(17 * MIB, 0x20),
    chunkBytes: 256 * 1024,
  },
];

const BAD_PROTOBUF: BadRequest[] = [
  { what: 'truncated protobuf', body: refusedTraces('protobuf').subarray(0, -3) },
  { what: 'random bytes', body: Buffer.from('f3a90c7fd2ee81b0774a25990f13c8d1', 'hex') },
  { what: 'a wrong wire type', body: Buffer.from('0801', 'hex') },
  { what: 'a field number 0', body: Buffer.from('0200', 'hex') },
  { what: 'a length beyond the end', body: Buffer.from('0aff7f00', 'hex') },
  { what: 'a varint without an end', body: Buffer.from('0affffffffffffffffffffff', 'hex') },
  { what: 'a group that is never closed', body: Buffer.from('0b', 'hex') },
  { what: 'JSON', body: refusedTraces('json') },
].map((bad) => ({ ...bad, status: 400, code: 3, message: /Not an OTLP protobuf message.*at byte \d+/ }));

const BAD_JSON: BadRequest[] = [
  { what: 'nothing at all', body: '', message: /byte 0/ },
  { what: 'JSON that is cut off', body: refusedTraces('json').subarray(0, -3), message: /at byte \d+/ },
  { what: 'text that is not JSON', body: 'hello', message: /at byte 0/ },
  { what: 'more after the end', body: '{}{}', message: /at byte 2/ },
  { what: 'an array', body: '[]', message: /expected/ },
  { what: 'a number', body: '12', message: /expected/ },
  { what: 'protobuf', body: refusedTraces('protobuf'), message: /at byte \d/ },
  {
    what: 'an object where a list belongs',
    body: '{"resourceSpans":{}}',
    message: /resourceSpans.*expected/,
  },
  {
    what: 'a text where an object belongs',
    body: '{"resourceSpans":["x"]}',
    message: /resourceSpans\S*.*expected/,
  },
  {
    what: 'an enum by its name',
    body: JSON.stringify(requestOf('traces', [span(REFUSED, { kind: 'SPAN_KIND_SERVER' })])),
    message: /kind: expected/,
  },
  {
    what: 'a time that is no number',
    body: JSON.stringify(requestOf('traces', [span(REFUSED, { startTimeUnixNano: 'now' })])),
    message: /startTimeUnixNano: expected/,
  },
  {
    what: 'brackets nested 100,000 deep',
    body: `{"x":${'['.repeat(100_000)}`,
    message: /at byte \d+/,
  },
].map((bad) => ({ ...bad, status: 400, code: 3 }));

const BAD_BY_ENCODING = {
  protobuf: [...BAD_COMPRESSION, ...BAD_PROTOBUF],
  json: [...BAD_COMPRESSION, ...BAD_JSON],
};

describe('OTLP/HTTP answers', { concurrency: false }, () => {
  const dataDir = makeDataDir();
  let server: Server;
  let residentBefore = 0;

  before(async () => {
    server = await Server.start(dataDir, { MEMORY_LIMIT: '4GiB' });
    residentBefore = server.residentBytes;
  });
  after(() => server.program.isRunning && server.kill());

  for (const portIndex of [0, 1]) {
    const name = ['OTLP port', 'API port'][portIndex];
    const port = () => portsOf(server)[portIndex];
    for (const encoding of ENCODINGS) {
      for (const { what, status, code, message, body = '', headers, chunkBytes } of BAD_BY_ENCODING[
        encoding
      ]) {
        it(`${name}, ${encoding}: ${what} is ${status}`, async () => {
          const answer = await sendOtlp(port().url, 'traces', encoding, body, { headers, chunkBytes });
          assert.equal(answer.status, status, answer.body.toString());
          const refusal = readRefusal(answer, encoding);
          assert.equal(refusal.code, code);
          assert.match(refusal.message, message);
        });
      }

      it(`${name}, ${encoding}: a wrong method or path is told in the same encoding`, async () => {
        const headers = { 'content-type': CONTENT_TYPES[encoding] };
        const get = await call(`${port().url}/v1/traces`, { method: 'GET', headers });
        assert.equal(get.status, 405);
        assert.equal(get.headers.allow, 'POST');
        assert.match(readRefusal(get, encoding).message, /takes POST, not GET/);
        const lost = await call(`${port().url}/v1/spans`, { headers, body: refusedTraces(encoding) });
        assert.equal(lost.status, 404);
        assert.match(readRefusal(lost, encoding).message, /\/v1\/traces, \/v1\/logs and \/v1\/metrics/);
      });

      it(`${name}, ${encoding}: an empty request of every signal succeeds with an exact body`, async () => {
        for (const signal of SIGNALS) {
          const empty = encode(signal, encoding, {});
          const { rejected, message } = readSuccess(
            await sendOtlp(port().url, signal, encoding, empty),
            signal,
            encoding,
            port().success,
          );
          assert.deepEqual({ rejected, message }, { rejected: 0, message: '' });
        }
      });

      it(`${name}, ${encoding}: plain, gzip, deflate and raw deflate succeed, for every signal`, async () => {
        const packers = {
          '': Buffer.from,
          gzip: gzipSync,
          deflate: deflateSync,
          'deflate raw': deflateRawSync,
        };
        for (const signal of SIGNALS) {
          for (const [packed, pack] of Object.entries(packers)) {
            const marker = `good-${portIndex}-${encoding}-${packed}`;
            const body = encode(signal, encoding, requestOf(signal, [ITEMS[signal](marker)]));
            const headers: Record<string, string> = packed
              ? { 'content-encoding': packed.split(' ')[0] }
              : {};
            const answer = await sendOtlp(port().url, signal, encoding, pack(body), { headers });
            assert.deepEqual(readSuccess(answer, signal, encoding, port().success), {
              rejected: 0,
              message: '',
            });
          }
        }
      });
    }

    it(`${name}: the content type is read leniently and answered exactly`, async () => {
      for (const given of ['application/json; charset=utf-8', 'APPLICATION/JSON', ' application/json ;x=y']) {
        const body = encode('logs', 'json', requestOf('logs', [logRecord(`lenient-${portIndex}-${given}`)]));
        const answer = await sendOtlp(port().url, 'logs', 'json', body, {
          headers: { 'content-type': given },
        });
        assert.deepEqual(readSuccess(answer, 'logs', 'json', port().success), { rejected: 0, message: '' });
      }
    });

    it(`${name}: another content type, or none, is 415 and says what is allowed`, async () => {
      for (const given of ['text/plain', 'application/grpc', 'application/protobuf-x', undefined]) {
        const headers: Record<string, string> = given ? { 'content-type': given } : {};
        const answer = await call(`${port().url}/v1/traces`, { headers, body: refusedTraces('json') });
        assert.equal(answer.status, 415);
        assert.match(readRefusal(answer, 'json').message, /use application\/x-protobuf or application\/json/);
      }
    });
  }

  it('is unharmed afterwards, in memory too', async () => {
    assert.equal((await getJson(`${server.api}/health/live`)).status, 200);
    assert.equal((await getJson(`${server.api}/health/ready`)).status, 200);
    const grownMiB = (server.residentBytes - residentBefore) / MIB;
    assert.ok(grownMiB < 600, `resident memory grew by ${grownMiB.toFixed()} MiB`);
    assert.doesNotMatch(server.program.stderr, /"level":(50|60)/, 'bad input is no error of ours');
  });

  it('stored what was accepted, and nothing of what was refused', async () => {
    await server.drained();
    await server.stop();
    const answers = await queryEachSignal<{ marker: string; rows: number }>(
      dataDir,
      (signal) =>
        `SELECT attributes['test.marker'] AS marker, count() AS rows FROM ${TABLES[signal]} GROUP BY marker ORDER BY marker`,
    );
    for (const [signal, rows] of answers) {
      const good = rows.filter(({ marker }) => /^(good|lenient)-/.test(marker));
      assert.equal(good.length, 16 + (signal === 'logs' ? 6 : 0), signal);
      assert.deepEqual(
        rows,
        good.map(({ marker }) => ({ marker, rows: 1 })),
        signal,
      );
    }
  });
});
