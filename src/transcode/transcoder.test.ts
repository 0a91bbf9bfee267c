import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import protobuf from 'protobufjs';
import { NativeStore, type StoredRow } from '../../test/support/native-store.js';
import { makeHistogramsBody, makeLogsBody, makeTracesBody } from '../../test/support/otlp-bodies.js';
import { encodeOtlp, otlp } from '../../test/support/otlp-proto.js';
import { checkBody } from '../otlp/check.js';
import type { Signal } from '../signal.js';
import { Transcoder } from './transcoder.js';

const MIGRATIONS = fileURLToPath(new URL('../../../migrations/clickhouse', import.meta.url));
const NOW = Date.UTC(2026, 5, 1, 12);
const WINDOW = { receivedAtMs: NOW, retentionDays: 30 };
const NANOS = String(BigInt(NOW) * 1_000_000n);
const MAX_UINT64 = '18446744073709551615';

let store: NativeStore;
before(async () => {
  store = await NativeStore.open(MIGRATIONS);
});
after(() => store.close());

const span = (more: object = {}) => ({
  traceId: new Uint8Array(16).fill(0xab),
  spanId: new Uint8Array(8).fill(0xcd),
  startTimeUnixNano: NANOS,
  ...more,
});
const traces = (...spans: object[]) =>
  encodeOtlp(otlp.traces, { resourceSpans: [{ scopeSpans: [{ spans }] }] });
const logs = (...logRecords: object[]) =>
  encodeOtlp(otlp.logs, { resourceLogs: [{ scopeLogs: [{ logRecords }] }] });

/** Through check, transcoder and engine. */
async function throughEngine(signal: Signal, ...bodies: Uint8Array[]): Promise<StoredRow[]> {
  const transcoder = new Transcoder(signal);
  let accepted = 0;
  let rejected = 0;
  for (const body of bodies) {
    const result = checkBody(signal, body, WINDOW);
    accepted += result.items - result.rejected;
    rejected += result.rejected;
    transcoder.add(body, WINDOW);
  }
  const block = transcoder.finish();
  assert.deepEqual([block.rows, block.rejected], [accepted, rejected]);
  await store.insert(signal, block);
  return store.take(signal);
}

/** Text and type signature of one attribute value after its way through the engine. */
async function attribute(...values: object[]): Promise<[unknown, unknown]> {
  const attributes = values.map((value) => ({ key: 'k', value }));
  const [row] = await throughEngine('traces', traces(span({ attributes })));
  return [(row.attributes as [string, string][]).map(([, text]) => text), row.attribute_types];
}

describe('The transcoder', () => {
  test('tells the earliest and the latest time of its rows, those it rejected aside', () => {
    const at = (ms: number) => String(BigInt(ms) * 1_000_000n);
    const transcoder = new Transcoder('logs');
    assert.equal(transcoder.times, undefined);
    const times = [NOW - 5_000_000, NOW + 1_000, NOW - 40 * 86_400_000, NOW - 1].map(at);
    transcoder.add(logs(...times.map((timeUnixNano) => ({ timeUnixNano }))), WINDOW);
    transcoder.add(logs({}), WINDOW);
    const hourOf = (ms: number) => ms - (ms % 3_600_000);
    const { minMs, maxMs } = transcoder.times!;
    assert.ok(minMs <= NOW - 5_000_000 && minMs >= NOW - 5_000_001, `${minMs}`);
    assert.ok(maxMs >= NOW + 1_000 && maxMs <= NOW + 1_001, `${maxMs}`);
    assert.equal(transcoder.rows, 4);
    assert.deepEqual(transcoder.times!.hoursMs, [
      ...new Set([NOW - 5_000_000, NOW - 1, NOW + 1_000].map(hourOf)),
    ]);
    transcoder.finish();
    assert.equal(transcoder.times, undefined);
  });

  test('keeps every kind of attribute value exactly', async () => {
    const list = { values: [{ stringValue: 'a"\\\n\u0001é' }, { intValue: '-9223372036854775808' }, {}] };
    const pairs = { values: [{ key: 'x"', value: { doubleValue: -0 } }, { value: { arrayValue: list } }] };
    const [texts, types] = await attribute(
      { stringValue: '' },
      { boolValue: true },
      { boolValue: false },
      { intValue: '9223372036854775807' },
      { intValue: '-9223372036854775808' },
      { intValue: '9007199254740993' },
      { doubleValue: 0.1 },
      { doubleValue: NaN },
      { doubleValue: -Infinity },
      { doubleValue: -0 },
      { bytesValue: Uint8Array.of(0, 255, 128) },
      {},
      { arrayValue: list },
      { kvlistValue: pairs },
      {
        arrayValue: { values: [{ doubleValue: NaN }, { bytesValue: Uint8Array.of(1) }, { boolValue: true }] },
      },
    );
    assert.deepEqual(texts, [
      '',
      'true',
      'false',
      '9223372036854775807',
      '-9223372036854775808',
      '9007199254740993',
      '0.1',
      'NaN',
      '-Infinity',
      '-0',
      'AP+A',
      '',
      '["a\\"\\\\\\n\\u0001é",-9223372036854775808,null]',
      '{"x\\"":-0,"":["a\\"\\\\\\n\\u0001é",-9223372036854775808,null]}',
      '["NaN","AQ==",true]',
    ]);
    assert.equal(types, 'sbbiiiddddyn[sin]{d[sin]}[dyb]');
  });

  test('keeps repeated keys, keys like __proto__ and their order', async () => {
    const keys = ['b', '__proto__', 'b', 'constructor', ''];
    const attributes = keys.map((key, i) => ({ key, value: { intValue: i } }));
    const [row] = await throughEngine('traces', traces(span({ attributes })));
    assert.deepEqual(
      row.attributes,
      keys.map((key, i) => [key, String(i)]),
    );
  });

  test('keeps all 64 bits of times and durations', async () => {
    const event = (timeUnixNano: string) => ({ timeUnixNano });
    const [row] = await throughEngine(
      'traces',
      traces(span({ endTimeUnixNano: MAX_UINT64, events: [event(MAX_UINT64), event('1'), event('0')] })),
    );
    assert.equal(row.timestamp, NANOS);
    assert.deepEqual(row['events.timestamp'], [MAX_UINT64, '1', '0']);
    assert.equal(row.duration_nano, String(BigInt.asIntN(64, 2n ** 64n - 1n - BigInt(NANOS))));
  });

  test('gives a log record without times the time of its arrival', async () => {
    const observedTimeUnixNano = String(BigInt(NANOS) - 1n);
    const rows = await throughEngine(
      'logs',
      logs({ body: { stringValue: 'late' } }, { observedTimeUnixNano }),
    );
    assert.deepEqual(
      rows.map((row) => [row.timestamp, row.timestamp_source, row.body_type]),
      [
        [observedTimeUnixNano, 'observed', ''],
        [NANOS, 'received', 's'],
      ],
    );
  });

  test('takes the service name from the first service.name, and has none without', async () => {
    const resources = [
      [],
      [{ key: 'service.name', value: { stringValue: 'shop' } }],
      [
        { key: 'a', value: { stringValue: 'b' } },
        { key: 'service.name', value: { intValue: 5 } },
        { key: 'service.name', value: { stringValue: 'second' } },
      ],
    ];
    const body = encodeOtlp(otlp.traces, {
      resourceSpans: resources.map((attributes) => ({
        resource: { attributes },
        scopeSpans: [{ spans: [span()] }],
      })),
    });
    const names = (await throughEngine('traces', body)).map((row) => row.service_name);
    assert.deepEqual(names.sort(), ['', '5', 'shop']);
  });

  test('leaves nothing of a rejected item in the columns', async () => {
    let deep: object = {};
    for (let i = 0; i < 65; i++) deep = { arrayValue: { values: [deep] } };
    const attributes = [
      { key: 'first', value: { stringValue: 'x' } },
      { key: 'deep', value: deep },
    ];
    const events = [{ name: 'e1', attributes: attributes.slice(0, 1) }, { name: 'e2' }];
    const links = [{ traceState: 'state', attributes: attributes.slice(0, 1) }];
    const good = (name: string) => span({ name, attributes: attributes.slice(0, 1), events, links });
    const bad = [
      span({ attributes, events, links }),
      span({ events: [...events, { attributes }], links }),
      span({ events, links: [...links, { attributes }] }),
      span({ events, links: [...links, { spanId: Uint8Array.of(1) }] }),
      span({ ...good('late'), startTimeUnixNano: '5' }),
    ];
    const rows = await throughEngine(
      'traces',
      traces(good('a'), ...bad, good('b'), bad[0]),
      traces(...bad, good('c')),
    );
    assert.deepEqual(rows.map((row) => row.span_name).sort(), ['a', 'b', 'c']);
    for (const row of rows) {
      assert.deepEqual(row.attributes, [['first', 'x']]);
      assert.deepEqual(row['events.name'], ['e1', 'e2']);
      assert.deepEqual(row['events.attributes'], [[['first', 'x']], []]);
      assert.deepEqual(row['links.trace_state'], ['state']);
      assert.deepEqual(row['links.attributes'], [[['first', 'x']]]);
    }
  });

  test('repairs text that is not UTF-8 with U+FFFD, short and long', async () => {
    const long = 'y'.repeat(500);
    const attributes = [{ key: 'kk', value: { stringValue: long } }];
    const body = traces(span({ name: 'aXb', attributes }));
    for (const [text, at] of [
      ['aXb', 1],
      [long, 250],
      ['kk', 0],
    ] as const) {
      body[Buffer.from(body).indexOf(text) + at] = 0xff;
    }
    const [row] = await throughEngine('traces', body);
    assert.equal(row.span_name, 'a\ufffdb');
    const replaced = `${'y'.repeat(250)}\ufffd${'y'.repeat(249)}`;
    assert.deepEqual(row.attributes, [['\ufffdk', replaced]]);
  });

  test('takes 10,000 attributes, values of a megabyte and more distinct keys than a dictionary has slots', async () => {
    const value = { stringValue: 'z'.repeat(1 << 20) };
    const attributes = Array.from({ length: 10_000 }, (_, i) => ({
      key: `key.${i}`,
      value: { intValue: i },
    }));
    const again = [...attributes].reverse();
    const rows = await throughEngine(
      'traces',
      traces(span({ attributes: [{ key: 'big', value }] }), span({ name: 'many', attributes })),
      traces(span({ name: 'again', attributes: again })),
    );
    const byName = new Map(rows.map((row) => [row.span_name, row.attributes as [string, string][]]));
    assert.equal(byName.get('')?.[0][1].length, 1 << 20);
    const pairs = attributes.map(({ key }, i) => [key, String(i)]);
    assert.deepEqual(byName.get('many'), pairs);
    assert.deepEqual(byName.get('again'), pairs.reverse());
  });

  test('of repeated fields that are to be there once the last counts', async () => {
    const once = traces(span({ name: 'first', status: { message: 'gone', code: 2 } }));
    const second = protobuf.Writer.create();
    second.uint32(0x2a).string('last').uint32(0x7a).fork().uint32(0x18).uint32(1).ldelim();
    const inner = otlp.traces
      .lookupType('Span')
      .encode(
        otlp.traces
          .lookupType('Span')
          .fromObject(span({ name: 'first', status: { message: 'gone', code: 2 } })),
      )
      .finish();
    const writer = protobuf.Writer.create();
    for (const tag of [0x0a, 0x12]) writer.uint32(tag).fork();
    writer
      .uint32(0x12)
      .bytes(Buffer.concat([inner, second.finish()]))
      .ldelim()
      .ldelim();
    const [row] = await throughEngine('traces', writer.finish());
    assert.deepEqual([row.span_name, row.status_code, row.status_message], ['last', 'OK', '']);
    assert.equal((await throughEngine('traces', once))[0].span_name, 'first');
  });

  test('the same bodies give the same bytes, after other batches too', () => {
    for (const [signal, make] of [
      ['traces', makeTracesBody],
      ['logs', makeLogsBody],
      ['metrics', makeHistogramsBody],
    ] as const) {
      const bodies = [1, 2, 3].map((seed) => make({ items: 100, seed, nowMs: NOW }));
      const transcoder = new Transcoder(signal);
      const bytes = () => {
        for (const body of bodies) transcoder.add(body, WINDOW);
        return Buffer.concat(transcoder.finish().chunks);
      };
      const first = bytes();
      transcoder.add(make({ items: 500, seed: 9, nowMs: NOW }), WINDOW);
      transcoder.finish();
      assert.ok(first.equals(bytes()));
      transcoder.add(make({ items: 50, seed: 10, nowMs: NOW }), WINDOW);
      transcoder.reset();
      assert.ok(first.equals(bytes()));
    }
  });

  test('an empty batch has no rows, no columns and no bytes', () => {
    const transcoder = new Transcoder('logs');
    transcoder.add(new Uint8Array(), WINDOW);
    const { rows, columns, chunks, structure } = transcoder.finish();
    assert.deepEqual(
      { rows, columns, chunks, structure },
      { rows: 0, columns: [], chunks: [], structure: '' },
    );
  });

  test('columns that are default in the whole block are left out, but for those whose defaults are dear', () => {
    const transcoder = new Transcoder('traces');
    transcoder.add(traces(span()), WINDOW);
    assert.deepEqual(transcoder.finish().columns, [
      'timestamp',
      'trace_id',
      'span_id',
      'duration_nano',
      'attributes',
      'events.name',
      'events.attribute_types',
      'links.attribute_types',
      'resource_attributes',
      'scope_attributes',
    ]);
  });

  test('many rows of many resources come back as they were sent', async () => {
    const bodies = Array.from({ length: 40 }, (_, seed) => makeTracesBody({ items: 300, seed, nowMs: NOW }));
    const rows = await throughEngine('traces', ...bodies);
    assert.equal(rows.length, 12_000);
    for (const row of rows) {
      const resource = Object.fromEntries(row.resource_attributes as [string, string][]);
      assert.equal(row.service_name, resource['service.name']);
      assert.ok(String(row.span_name).includes(`/${row.service_name}/`));
      assert.equal(row.scope_version, '1.4.2');
    }
  });
});
