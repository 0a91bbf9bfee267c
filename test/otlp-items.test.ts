import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import type { Signal } from '../src/signal.js';
import { queryEachSignal, queryStore, TABLES } from './support/engine.js';
import { getJson } from './support/http.js';
import { attribute, ITEMS, logRecord, nowNs, point, requestOf, span } from './support/items.js';
import { nestedBody } from './support/nested.js';
import {
  ENCODINGS,
  type Encoding,
  encode,
  type Item,
  readRefusal,
  readSuccess,
  sendOtlp,
} from './support/otlp-client.js';
import { MAX_UINT64, REJECTED_ITEMS } from './support/rejected-items.js';
import { makeDataDir, Server } from './support/server.js';

const DAY_MS = 86_400_000;
const HOUR_MS = 3_600_000;

describe('OTLP items', { concurrency: false }, () => {
  const dataDir = makeDataDir();
  const expected = new Map<string, { signal: Signal; rows: number }>();
  let server: Server;

  const send = async (signal: Signal, encoding: Encoding, request: Item | Buffer) => {
    const body = Buffer.isBuffer(request) ? request : encode(signal, encoding, request);
    return readSuccess(await sendOtlp(server.otlp, signal, encoding, body), signal, encoding, 200);
  };
  const expectStored = (signal: Signal, marker: string, rows: number) =>
    expected.set(marker, { signal, rows });

  before(async () => {
    server = await Server.start(dataDir);
  });
  after(() => server.program.isRunning && server.kill());

  for (const encoding of ENCODINGS) {
    for (const [index, { what, signal, change, message }] of REJECTED_ITEMS.entries()) {
      it(`${encoding}: ${what} is rejected alone, counted and explained`, async () => {
        const marker = `partial-${encoding}-${index}`;
        const make = ITEMS[signal];
        const items = [
          make(marker),
          make(`${marker}-bad`, change),
          make(marker),
          make(`${marker}-bad`, change),
        ];
        const answer = await send(signal, encoding, requestOf(signal, items));
        assert.equal(answer.rejected, 2);
        assert.match(answer.message, message);
        expectStored(signal, marker, 2);
        expectStored(signal, `${marker}-bad`, 0);
      });
    }

    it(`${encoding}: when every item is rejected, the answer is still a partial success`, async () => {
      const items = [
        span(`all-${encoding}`, { traceId: 'ab' }),
        span(`all-${encoding}`, { startTimeUnixNano: '1' }),
      ];
      const answer = await send('traces', encoding, requestOf('traces', items));
      assert.equal(answer.rejected, 2);
      assert.match(answer.message, /1 rejected: trace_id.*; 1 rejected: times must/);
      expectStored('traces', `all-${encoding}`, 0);
    });

    it(`${encoding}: times at the edges of the window are taken`, async () => {
      const marker = `edges-${encoding}`;
      const times = [nowNs(-30 * DAY_MS + 60_000), nowNs(HOUR_MS - 60_000)];
      await send(
        'traces',
        encoding,
        requestOf(
          'traces',
          times.map((time) => span(marker, { startTimeUnixNano: time })),
        ),
      );
      await send(
        'logs',
        encoding,
        requestOf(
          'logs',
          times.map((time) => logRecord(marker, { timeUnixNano: time })),
        ),
      );
      expectStored('traces', marker, 2);
    });

    it(`${encoding}: a log record without a time is stored under the observed or the receive time`, async () => {
      const marker = `no-time-${encoding}`;
      const items = [
        logRecord(marker, { timeUnixNano: '0' }),
        logRecord(marker, { timeUnixNano: '0', observedTimeUnixNano: nowNs() }),
      ];
      assert.deepEqual(await send('logs', encoding, requestOf('logs', items)), { rejected: 0, message: '' });
      expectStored('logs', marker, 2);
    });

    it(`${encoding}: a value nested 64 deep is stored, a deeper one rejected`, async () => {
      const depths = encoding === 'json' ? [64, 65, 120] : [64, 65, 1000, 100_000];
      for (const depth of depths) {
        const marker = `nested-${encoding}-${depth}`;
        const answer = await send('logs', encoding, nestedBody[encoding](depth, marker));
        assert.equal(answer.rejected, depth === 64 ? 0 : 1, `${depth} deep`);
        if (depth > 64) assert.match(answer.message, /nested more than 64 levels deep/);
        expectStored('logs', marker, depth === 64 ? 1 : 0);
      }
    });

    it(`${encoding}: 10,000 attributes and values of a megabyte are stored as they are`, async () => {
      const marker = `large-${encoding}`;
      const many = Array.from({ length: 10_000 }, (_, i) => attribute(`key-${i}`, `value-${i}`));
      const big = attribute('big', 'ä€😀'.repeat(130_000));
      const attributes = [attribute('test.marker', marker), ...many, big];
      for (const signal of ['traces', 'logs', 'metrics'] as const) {
        const answer = await send(
          signal,
          encoding,
          requestOf(signal, [ITEMS[signal](marker, { attributes })]),
        );
        assert.deepEqual(answer, { rejected: 0, message: '' });
      }
      expectStored('traces', marker, 1);
    });

    it(`${encoding}: attribute names that mean something to JavaScript are stored like others`, async () => {
      const marker = `names-${encoding}`;
      const attributes = ['__proto__', 'constructor', 'toString', ''].map((key) =>
        attribute(key, `of ${key}`),
      );
      attributes.push(attribute('test.marker', marker));
      await send('logs', encoding, requestOf('logs', [logRecord(marker, { attributes })]));
      expectStored('logs', marker, 1);
    });

    it(`${encoding}: NaN, infinities and 64-bit extremes are kept exactly`, async () => {
      const marker = `extremes-${encoding}`;
      const values: Item[] = [
        { asDouble: 'NaN' },
        { asDouble: 'Infinity' },
        { asDouble: '-Infinity' },
        { asInt: '9223372036854775807' },
        { asInt: '-9223372036854775808' },
        { asInt: '9007199254740993' },
      ];
      const points = values.map((value) => {
        const { asDouble: _, ...rest } = point(marker, value);
        return { ...rest, ...value };
      });
      assert.deepEqual(await send('metrics', encoding, requestOf('metrics', points)), {
        rejected: 0,
        message: '',
      });
      const spanExtremes = span(marker, {
        endTimeUnixNano: MAX_UINT64,
        flags: 4294967295,
        droppedAttributesCount: 4294967295,
        attributes: [
          attribute('test.marker', marker),
          { key: 'int', value: { intValue: '-9223372036854775808' } },
        ],
      });
      assert.deepEqual(await send('traces', encoding, requestOf('traces', [spanExtremes])), {
        rejected: 0,
        message: '',
      });
      expectStored('metrics', marker, 6);
    });
  }

  for (const depth of [1000, 100_000]) {
    it(`json: nesting ${depth} deep is refused with its place, and harms nothing`, async () => {
      const answer = await sendOtlp(server.otlp, 'logs', 'json', nestedBody.json(depth, 'refused-bad'));
      assert.equal(answer.status, 400);
      assert.match(
        readRefusal(answer, 'json').message,
        /at byte \d+: objects and arrays are nested more than \d+ deep/,
      );
    });
  }

  it('protobuf: invalid UTF-8 is repaired, stored, and told as a warning with nothing rejected', async () => {
    const body = encode(
      'logs',
      'protobuf',
      requestOf('logs', [logRecord('utf8', { severityText: 'XX~~XX' })]),
    );
    body.set([0xc3, 0x28], body.indexOf('~~'));
    const answer = await send('logs', 'protobuf', body);
    assert.equal(answer.rejected, 0);
    assert.match(answer.message, /1 strings were not valid UTF-8/);
    expectStored('logs', 'utf8', 1);
  });

  it('JSON: invalid UTF-8 is no JSON, or repaired, never a broken row', async () => {
    const body = encode(
      'logs',
      'json',
      requestOf('logs', [logRecord('utf8-json', { severityText: 'XX~~XX' })]),
    );
    body.set([0xc3, 0x28], body.indexOf('~~'));
    const answer = await sendOtlp(server.otlp, 'logs', 'json', body);
    assert.ok(answer.status === 200 || answer.status === 400, String(answer.status));
    if (answer.status === 200) expectStored('logs', 'utf8-json', 1);
  });

  it('stored exactly what was accepted', async () => {
    assert.equal((await getJson(`${server.api}/health/ready`)).status, 200);
    await server.drained();
    await server.stop();
    const stored = new Map<string, number>();
    const answers = await queryEachSignal<{ marker: string; rows: number }>(
      dataDir,
      (signal) =>
        `SELECT attributes['test.marker'] AS marker, count() AS rows FROM ${TABLES[signal]} GROUP BY marker`,
    );
    for (const [signal, rows] of answers) {
      for (const { marker, rows: count } of rows) stored.set(`${signal} ${marker}`, count);
    }
    for (const [marker, { signal, rows }] of expected) {
      assert.equal(stored.get(`${signal} ${marker}`) ?? 0, rows, `${signal} ${marker}`);
    }
    for (const [marker] of stored) assert.doesNotMatch(marker, /-bad|^\S+ all-/);
  });

  it('kept the values', async () => {
    const [row] = await queryStore<Item>(
      dataDir,
      `SELECT
         (SELECT groupArray(toString(value_int)) FROM telemetry_metrics WHERE attributes['test.marker'] = 'extremes-json' AND value_type = 'int') AS json_ints,
         (SELECT groupArray(toString(value_int)) FROM telemetry_metrics WHERE attributes['test.marker'] = 'extremes-protobuf' AND value_type = 'int') AS proto_ints,
         (SELECT groupArray(toString(value)) FROM telemetry_metrics WHERE attributes['test.marker'] = 'extremes-json' AND value_type = 'double') AS json_doubles,
         (SELECT groupArray(toString(value)) FROM telemetry_metrics WHERE attributes['test.marker'] = 'extremes-protobuf' AND value_type = 'double') AS proto_doubles,
         (SELECT groupUniqArray((length(attributes), lengthUTF8(attributes['big']))) FROM telemetry_traces WHERE attributes['test.marker'] LIKE 'large-%') AS large,
         (SELECT groupUniqArray((length(attributes), lengthUTF8(attributes['big']))) FROM telemetry_metrics WHERE attributes['test.marker'] LIKE 'large-%') AS large_points,
         (SELECT groupUniqArray(attributes['__proto__']) FROM telemetry_logs WHERE attributes['test.marker'] LIKE 'names-%') AS proto_key,
         (SELECT any(severity_text) FROM telemetry_logs WHERE attributes['test.marker'] = 'utf8') AS repaired,
         (SELECT groupUniqArray((flags, dropped_attributes_count, attributes['int'])) FROM telemetry_traces WHERE attributes['test.marker'] LIKE 'extremes-%') AS spans`,
    );
    const ints = ['-9223372036854775808', '9007199254740993', '9223372036854775807'];
    assert.deepEqual((row.json_ints as string[]).sort(), ints);
    assert.deepEqual((row.proto_ints as string[]).sort(), ints);
    assert.deepEqual((row.json_doubles as string[]).sort(), ['-inf', 'inf', 'nan']);
    assert.deepEqual((row.proto_doubles as string[]).sort(), ['-inf', 'inf', 'nan']);
    assert.deepEqual(row.large, [[10_002, 390_000]]);
    assert.deepEqual(row.large_points, [[10_002, 390_000]]);
    assert.deepEqual(row.proto_key, ['of __proto__']);
    assert.equal(row.repaired, 'XX\ufffd(XX');
    assert.deepEqual(row.spans, [[4294967295, 4294967295, '-9223372036854775808']]);
  });
});
