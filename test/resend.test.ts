import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { gzipSync } from 'node:zlib';
import { SIGNALS } from '../src/signal.js';
import { queryEachSignal, TABLES } from './support/engine.js';
import { ITEMS, requestOf } from './support/items.js';
import { ENCODINGS, encode, portsOf, readSuccess, sendOtlp } from './support/otlp-client.js';
import { makeDataDir, Server } from './support/server.js';

/** A client that gets no answer sends the same bytes again; it must not make a second copy, nor get another answer. */
describe('a body that is sent again', { concurrency: false }, () => {
  const dataDir = makeDataDir();
  const rows = new Map<string, number>();
  let server: Server;
  before(async () => {
    server = await Server.start(dataDir);
  });
  after(() => server.program.isRunning && server.kill());

  /** Two good items and one bad. */
  const bodyOf = (signal: (typeof SIGNALS)[number], encoding: (typeof ENCODINGS)[number], marker: string) => {
    const good = ITEMS[signal];
    const bad = signal === 'metrics' ? { timeUnixNano: '1' } : { traceId: 'ab' };
    rows.set(`${signal} ${marker}`, 2);
    return encode(signal, encoding, requestOf(signal, [good(marker), good(marker, bad), good(marker)]));
  };

  const kept = new Map<string, { body: Buffer; answer: { rejected: number; message: string } }>();

  for (const signal of SIGNALS) {
    for (const encoding of ENCODINGS) {
      it(`${signal}, ${encoding}: after the answer, is answered as before, partial success included`, async () => {
        const body = bodyOf(signal, encoding, `after-${encoding}`);
        const first = readSuccess(await sendOtlp(server.otlp, signal, encoding, body), signal, encoding, 200);
        assert.equal(first.rejected, 1);
        kept.set(`${signal} ${encoding}`, { body, answer: first });
        for (let i = 0; i < 3; i++) {
          const again = readSuccess(
            await sendOtlp(server.otlp, signal, encoding, body),
            signal,
            encoding,
            200,
          );
          assert.deepEqual(again, first);
        }
      });

      it(`${signal}, ${encoding}: once it is in the store, too`, async () => {
        await server.drained();
        const { body, answer } = kept.get(`${signal} ${encoding}`)!;
        assert.deepEqual(
          readSuccess(await sendOtlp(server.otlp, signal, encoding, body), signal, encoding, 200),
          answer,
        );
      });

      it(`${signal}, ${encoding}: twenty times at once, is stored once and answered alike`, async () => {
        const body = bodyOf(signal, encoding, `at-once-${encoding}`);
        const answers = await Promise.all(
          Array.from({ length: 20 }, () => sendOtlp(server.otlp, signal, encoding, body)),
        );
        const read = answers.map((answer) => readSuccess(answer, signal, encoding, 200));
        for (const answer of read) assert.deepEqual(answer, read[0]);
        assert.equal(read[0].rejected, 1);
      });

      it(`${signal}, ${encoding}: gzip or plain, on either port, is the same body`, async () => {
        const body = bodyOf(signal, encoding, `packed-${encoding}`);
        for (const port of portsOf(server)) {
          for (const packed of [gzipSync(body), gzipSync(body, { level: 1 }), body]) {
            const headers: Record<string, string> = packed === body ? {} : { 'content-encoding': 'gzip' };
            const answer = await sendOtlp(port.url, signal, encoding, packed, { headers });
            assert.equal(readSuccess(answer, signal, encoding, port.success).rejected, 1);
          }
        }
      });
    }
  }

  it('the same bytes as another signal are another body', async () => {
    // Field numbers of logs and traces overlap: an empty envelope is both.
    const bytes = Buffer.from('0a00', 'hex');
    for (const signal of SIGNALS) {
      readSuccess(await sendOtlp(server.otlp, signal, 'protobuf', bytes), signal, 'protobuf', 200);
    }
  });

  for (const how of ['SIGTERM', 'SIGKILL'] as const) {
    it(`after a restart by ${how}, is stored once and answered as before`, async () => {
      const fresh = bodyOf('traces', 'protobuf', `just-before-${how}`);
      const freshAnswer = readSuccess(
        await sendOtlp(server.otlp, 'traces', 'protobuf', fresh),
        'traces',
        'protobuf',
        200,
      );
      await (how === 'SIGTERM' ? server.stop() : server.kill());
      server = await Server.start(dataDir);
      const again = readSuccess(
        await sendOtlp(server.otlp, 'traces', 'protobuf', fresh),
        'traces',
        'protobuf',
        200,
      );
      assert.deepEqual(again, freshAnswer);
      for (const signal of SIGNALS) {
        for (const encoding of ENCODINGS) {
          const { body, answer } = kept.get(`${signal} ${encoding}`)!;
          const told = readSuccess(
            await sendOtlp(server.otlp, signal, encoding, body),
            signal,
            encoding,
            200,
          );
          assert.deepEqual(told, answer);
        }
      }
    });
  }

  it('is in the store once', async () => {
    assert.ok((await server.queue()).duplicates > 0);
    await server.drained();
    await server.stop();
    const stored = new Map<string, number>();
    const answers = await queryEachSignal<{ marker: string; rows: number }>(
      dataDir,
      (signal) =>
        `SELECT attributes['test.marker'] AS marker, count() AS rows FROM ${TABLES[signal]} GROUP BY marker`,
    );
    for (const [signal, found] of answers) {
      for (const { marker, rows: count } of found) stored.set(`${signal} ${marker}`, count);
    }
    assert.deepEqual(new Map([...stored].sort()), new Map([...rows].sort()));
  });
});
