import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import type { Signal } from '../src/signal.js';
import { queryStore, TABLES } from './support/engine.js';
import { getJson } from './support/http.js';
import { attribute, ITEMS, logRecord, nowNs, point, requestOf, span } from './support/items.js';
import {
  ENCODINGS,
  type Encoding,
  encode,
  type Item,
  readRefusal,
  readSuccess,
  sendOtlp,
} from './support/otlp-client.js';
import { makeDataDir, Server } from './support/server.js';

const DAY_MS = 86_400_000;
const HOUR_MS = 3_600_000;
const MAX_UINT64 = '18446744073709551615';

interface RejectedItem {
  what: string;
  signal: Signal;
  change: Item;
  message: RegExp;
}

const badTime = { message: /times must be within \d{4}-\d\d-\d\dT.* to \d{4}-/ };
const REJECTED_ITEMS: RejectedItem[] = [
  ...['', 'ab', '00112233445566778899aabbccddee', '00'.repeat(17), '00'.repeat(16)].map((traceId) => ({
    what: `a span with trace id "${traceId}"`,
    ...{ signal: 'traces' as const, change: { traceId }, message: /trace_id must be 16 bytes/ },
  })),
  ...['', '0011', '00'.repeat(9), '00'.repeat(8)].map((spanId) => ({
    what: `a span with span id "${spanId}"`,
    ...{ signal: 'traces' as const, change: { spanId }, message: /span_id must be 8 bytes/ },
  })),
  {
    what: 'a span with a parent id of 7 bytes',
    ...{
      signal: 'traces',
      change: { parentSpanId: '00112233445566' },
      message: /parent_span_id must be 8 bytes/,
    },
  },
  {
    what: 'a span with a link to a short trace id',
    ...{ signal: 'traces', message: /ids of span links/ },
    change: { links: [{ traceId: 'abcd', spanId: '0011223344556677' }] },
  },
  {
    what: 'a log record with a short trace id',
    signal: 'logs',
    change: { traceId: 'abcd' },
    message: /trace_id/,
  },
  {
    what: 'a log record with a short span id',
    signal: 'logs',
    change: { spanId: 'abcd' },
    message: /span_id/,
  },
  {
    what: 'a point with an exemplar of a short span id',
    ...{ signal: 'metrics', change: { exemplars: [{ timeUnixNano: '1', asDouble: 1, spanId: 'ab' }] } },
    message: /ids of exemplars/,
  },
  { what: 'a span at time zero', signal: 'traces', change: { startTimeUnixNano: '0' }, ...badTime },
  { what: 'a point at time zero', signal: 'metrics', change: { timeUnixNano: '0' }, ...badTime },
  ...(['traces', 'logs', 'metrics'] as const).flatMap((signal) => {
    const field = signal === 'traces' ? 'startTimeUnixNano' : 'timeUnixNano';
    const at = (what: string, time: string) => ({
      what: `${signal} ${what}`,
      signal,
      change: { [field]: time },
      ...badTime,
    });
    return [
      at('one nanosecond after 1970', '1'),
      at('a day before the retention', nowNs(-31 * DAY_MS)),
      at('two hours ahead', nowNs(2 * HOUR_MS)),
      at('in the year 2500', '16725225600000000000'),
      at('at the last nanosecond of 64 bits', MAX_UINT64),
      at('at the sign bit', '9223372036854775808'),
    ];
  }),
];

/** A request with one log record whose body is a text nested `depth` lists deep; built without recursion. */
function nestedJson(depth: number, marker: string): Buffer {
  const value = `${'{"arrayValue":{"values":['.repeat(depth)}{"stringValue":"inside"}${']}}'.repeat(depth)}`;
  const record = JSON.stringify(logRecord(marker)).replace('{"stringValue":"a line"}', () => value);
  return Buffer.from(`{"resourceLogs":[{"scopeLogs":[{"logRecords":[${record}]}]}]}`);
}

function varint(value: number): Buffer {
  const bytes: number[] = [];
  for (; value > 127; value = Math.floor(value / 128)) bytes.push((value % 128) | 128);
  return Buffer.from([...bytes, value]);
}

/** The same as protobuf, from the inside out. */
function nestedProtobuf(depth: number, marker: string): Buffer {
  const parts: Buffer[] = [Buffer.from('inside')];
  let length = 6;
  const wrap = (tag: number) => {
    const head = Buffer.concat([Buffer.from([tag]), varint(length)]);
    length += head.length;
    parts.push(head);
  };
  wrap(0x0a);
  for (let i = 0; i < depth; i++) {
    wrap(0x0a);
    wrap(0x2a);
  }
  wrap(0x2a);
  const { body: _, ...plain } = logRecord(marker);
  const request = encode('logs', 'protobuf', { resourceLogs: [{ scopeLogs: [{ logRecords: [plain] }] }] });
  // Three envelopes of one length byte each stand before the record.
  const rest = request.subarray(6);
  parts.push(rest);
  length += rest.length;
  for (let i = 0; i < 3; i++) wrap([0x12, 0x12, 0x0a][i]);
  return Buffer.concat(parts.reverse());
}

const nestedBody = { json: nestedJson, protobuf: nestedProtobuf };

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
      const answer = await sendOtlp(server.otlp, 'logs', 'json', nestedJson(depth, 'refused-bad'));
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
    for (const signal of ['traces', 'logs', 'metrics'] as const) {
      const rows = await queryStore<{ marker: string; rows: number }>(
        dataDir,
        `SELECT attributes['test.marker'] AS marker, count() AS rows FROM ${TABLES[signal]} GROUP BY marker`,
      );
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
