import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import protobuf from 'protobufjs';
import {
  makeHistogramsBody,
  makeLogsBody,
  makeMetricsBody,
  makeTracesBody,
} from '../../test/support/otlp-bodies.js';
import { encodeOtlp, otlp } from '../../test/support/otlp-proto.js';
import { AppError } from '../errors.js';
import type { Signal } from '../signal.js';
import { type CheckResult, checkBody } from './check.js';

const NOW = Date.UTC(2026, 5, 1, 12);
const WINDOW = { receivedAtMs: NOW, retentionDays: 30 };
const nano = (ms: number, rest = 0n) => String(BigInt(ms) * 1_000_000n + rest);
const DAY = 86_400_000;

const span = (more: object = {}) => ({
  traceId: new Uint8Array(16).fill(1),
  spanId: new Uint8Array(8).fill(2),
  startTimeUnixNano: nano(NOW),
  ...more,
});
const traces = (spans: object[], more: object = {}, scope: object = {}) =>
  encodeOtlp(otlp.traces, { resourceSpans: [{ ...more, scopeSpans: [{ ...scope, spans }] }] });
const logs = (logRecords: object[]) =>
  encodeOtlp(otlp.logs, { resourceLogs: [{ scopeLogs: [{ logRecords }] }] });
const metrics = (...list: object[]) =>
  encodeOtlp(otlp.metrics, { resourceMetrics: [{ scopeMetrics: [{ metrics: list }] }] });
const check = (signal: Signal, body: Uint8Array): CheckResult => checkBody(signal, body, WINDOW);
const summary = ({ items, rejected, reasons }: CheckResult) => ({
  items,
  rejected,
  reasons: Object.fromEntries(reasons.map(({ code, count }) => [code, count])),
});

/** An AnyValue in `depth` arrays or key-value lists, alternating. */
function nested(depth: number): object {
  let value: object = { stringValue: 'x' };
  for (let i = 0; i < depth; i++) {
    value =
      i % 2 === 0 ? { arrayValue: { values: [value] } } : { kvlistValue: { values: [{ key: 'k', value }] } };
  }
  return value;
}
const attribute = (depth: number) => [{ key: 'deep', value: nested(depth) }];

function malformed(signal: Signal, body: Uint8Array): string {
  try {
    check(signal, body);
  } catch (error) {
    assert.ok(error instanceof AppError, String(error));
    assert.equal(error.code, 'MALFORMED_BODY');
    return error.message;
  }
  assert.fail('accepted');
}

describe('The check pass', () => {
  test('counts the items of realistic bodies and finds nothing wrong', () => {
    for (const [signal, make] of [
      ['traces', makeTracesBody],
      ['logs', makeLogsBody],
      ['metrics', makeMetricsBody],
      ['metrics', makeHistogramsBody],
    ] as const) {
      const body = make({ items: 1000, seed: 7, nowMs: NOW });
      assert.deepEqual(check(signal, body), { items: 1000, rejected: 0, reasons: [], invalidUtf8: 0 });
    }
  });

  test('accepts an empty request', () => {
    for (const signal of ['traces', 'logs', 'metrics'] as const)
      assert.equal(check(signal, new Uint8Array()).items, 0);
  });

  test('rejects spans whose ids are missing, zero or of the wrong length', () => {
    const body = traces([
      span(),
      span({ traceId: new Uint8Array(0) }),
      span({ traceId: new Uint8Array(16) }),
      span({ traceId: new Uint8Array(15).fill(1) }),
      span({ spanId: new Uint8Array(8) }),
      span({ spanId: new Uint8Array(16).fill(1) }),
      span({ parentSpanId: new Uint8Array(7).fill(1) }),
      span({ parentSpanId: new Uint8Array(8) }),
      span({ links: [{ traceId: new Uint8Array(3) }] }),
      span({ links: [{}] }),
    ]);
    assert.deepEqual(summary(check('traces', body)), {
      items: 10,
      rejected: 7,
      reasons: { INVALID_TRACE_ID: 3, INVALID_SPAN_ID: 2, INVALID_PARENT_SPAN_ID: 1, INVALID_LINK_ID: 1 },
    });
  });

  test('takes times from the retention ago to one hour ahead, to the nanosecond', () => {
    const times = [
      [nano(NOW - 30 * DAY), true],
      [nano(NOW - 30 * DAY, -1n), false],
      [nano(NOW + 3_600_000), true],
      [nano(NOW + 3_600_000, 1n), false],
      ['0', false],
      ['1', false],
      ['18446744073709551615', false],
      ['9223372036854775808', false],
    ] as const;
    for (const [time, isAccepted] of times) {
      const { rejected, reasons } = check('traces', traces([span({ startTimeUnixNano: time })]));
      assert.equal(rejected === 0, isAccepted, time);
      if (!isAccepted) {
        assert.equal(reasons[0].code, 'TIME_OUT_OF_RANGE');
        assert.match(reasons[0].message, /2026-05-02T12:00:00.000Z to 2026-06-01T13:00:00.000Z/);
      }
    }
  });

  test('takes a log record without a time by its observed time, without both by its arrival', () => {
    const body = logs([
      {},
      { observedTimeUnixNano: nano(NOW) },
      { observedTimeUnixNano: '1' },
      { timeUnixNano: '1', observedTimeUnixNano: nano(NOW) },
      { timeUnixNano: nano(NOW), observedTimeUnixNano: '1' },
    ]);
    assert.deepEqual(summary(check('logs', body)), {
      items: 5,
      rejected: 2,
      reasons: { TIME_OUT_OF_RANGE: 2 },
    });
  });

  test('rejects log records and data points for ids of the wrong length, not for missing ones', () => {
    const record = { timeUnixNano: nano(NOW) };
    const body = logs([
      record,
      { ...record, traceId: new Uint8Array(16) },
      { ...record, traceId: new Uint8Array(8) },
      { ...record, spanId: new Uint8Array(16) },
    ]);
    assert.deepEqual(summary(check('logs', body)), {
      items: 4,
      rejected: 2,
      reasons: { INVALID_TRACE_ID: 1, INVALID_SPAN_ID: 1 },
    });
    const point = (exemplar: object) => ({ timeUnixNano: nano(NOW), exemplars: [exemplar] });
    const points = [point({}), point({ spanId: new Uint8Array(4) }), point({ traceId: new Uint8Array(16) })];
    assert.deepEqual(summary(check('metrics', metrics({ gauge: { dataPoints: points } }))), {
      items: 3,
      rejected: 1,
      reasons: { INVALID_EXEMPLAR_ID: 1 },
    });
  });

  test('rejects items whose values are nested more than 64 deep, wherever they are', () => {
    const deep = attribute(65);
    const time = { timeUnixNano: nano(NOW) };
    const one = { items: 1, rejected: 1, reasons: { VALUE_TOO_DEEP: 1 } };
    assert.equal(check('traces', traces([span({ attributes: attribute(64) })])).rejected, 0);
    assert.deepEqual(summary(check('traces', traces([span({ attributes: deep })]))), one);
    assert.deepEqual(summary(check('traces', traces([span({ events: [{ attributes: deep }] })]))), one);
    assert.deepEqual(summary(check('traces', traces([span({ links: [{ attributes: deep }] })]))), one);
    assert.deepEqual(summary(check('logs', logs([{ ...time, body: nested(65) }]))), one);
    const exemplars = [{ filteredAttributes: deep }];
    const gauge = { dataPoints: [{ ...time, exemplars }] };
    assert.deepEqual(summary(check('metrics', metrics({ gauge }))), one);
  });

  test('rejects all items of a resource, scope or metric whose own attributes are too deep', () => {
    const deep = { attributes: attribute(65) };
    const two = { items: 2, rejected: 2, reasons: { VALUE_TOO_DEEP: 2 } };
    const spans = [span(), span({ startTimeUnixNano: '1' })];
    assert.deepEqual(summary(check('traces', traces(spans, { resource: deep }))), two);
    assert.deepEqual(summary(check('traces', traces(spans, {}, { scope: deep }))), two);
    const good = { gauge: { dataPoints: [{ timeUnixNano: nano(NOW) }] } };
    assert.deepEqual(summary(check('metrics', metrics({ metadata: attribute(65), ...good }, good))), {
      items: 2,
      rejected: 1,
      reasons: { VALUE_TOO_DEEP: 1 },
    });
  });

  test('is not hurt by values nested a thousand deep', () => {
    const body = traces([span({ attributes: attribute(1000) }), span()]);
    assert.deepEqual(summary(check('traces', body)), {
      items: 2,
      rejected: 1,
      reasons: { VALUE_TOO_DEEP: 1 },
    });
  });

  test('refuses a body whose attributes, repeated for every item, would take any amount of memory', () => {
    const attributes = Array.from({ length: 10_000 }, (_, i) => ({
      key: `key.${i}`,
      value: { intValue: i },
    }));
    const spans = new Array(2000).fill(span());
    assert.equal(check('traces', traces(spans.slice(0, 1000), { resource: { attributes } })).items, 1000);
    const isRefused = (signal: Signal, body: Uint8Array) =>
      assert.throws(() => check(signal, body), { code: 'BODY_TOO_LARGE' });
    isRefused('traces', traces(spans, { resource: { attributes } }));
    isRefused('traces', traces(spans, {}, { scope: { attributes } }));
    const gauge = { dataPoints: new Array(2000).fill({ timeUnixNano: nano(NOW) }) };
    isRefused('metrics', metrics({ metadata: attributes, gauge }));
    assert.equal(check('metrics', metrics({ gauge })).items, 2000);
  });

  test('counts text that is not UTF-8 and accepts it', () => {
    const body = traces([span({ name: 'abc' }), span({ name: 'grüße' }), span({ attributes: attribute(0) })]);
    const at = Buffer.from(body).indexOf('abc');
    body[at] = 0xff;
    body[Buffer.from(body).indexOf('deep')] = 0xc0;
    assert.deepEqual(check('traces', body), { items: 3, rejected: 0, reasons: [], invalidUtf8: 2 });
  });

  test('skips fields it does not know, of every wire type', () => {
    const writer = protobuf.Writer.create();
    writer.uint32((1000 << 3) | 0).uint64('18446744073709551615');
    writer.uint32((1001 << 3) | 1).fixed64('1');
    writer.uint32((1002 << 3) | 2).bytes(new Uint8Array(300));
    writer.uint32((1003 << 3) | 5).fixed32(1);
    writer.uint32((29 << 3) | 2).bytes(new Uint8Array(3));
    const body = Buffer.concat([traces([span()]), writer.finish()]);
    assert.equal(check('traces', body).items, 1);
  });

  test('of a metric with two kinds of data only the last counts', () => {
    const first = encodeOtlp(otlp.metrics, {
      resourceMetrics: [{ scopeMetrics: [{ metrics: [{ gauge: { dataPoints: [{}, {}, {}] } }] }] }],
    });
    assert.equal(check('metrics', first).items, 3);
    const metric = protobuf.Writer.create();
    metric.uint32(0x2a).bytes(Uint8Array.of(0x0a, 0, 0x0a, 0, 0x0a, 0));
    metric.uint32(0x3a).bytes(Uint8Array.of(0x0a, 0));
    const writer = protobuf.Writer.create();
    for (const tag of [0x0a, 0x12]) writer.uint32(tag).fork();
    writer.uint32(0x12).bytes(metric.finish()).ldelim().ldelim();
    assert.equal(check('metrics', writer.finish()).items, 1);
  });

  test('says what is wrong with a malformed body, in which field and at which byte', () => {
    const inSpan = (...bytes: number[]) =>
      Uint8Array.of(0x0a, bytes.length + 4, 0x12, bytes.length + 2, 0x12, bytes.length, ...bytes);
    const cases: [Uint8Array, RegExp][] = [
      [Uint8Array.of(0x0a, 5, 1), /length runs past the end in resource_spans, at byte 0$/],
      [Uint8Array.of(0x08, 5), /wire type 0 does not fit the field in resource_spans, at byte 0$/],
      [Uint8Array.of(0x00), /field number 0, at byte 0$/],
      [Uint8Array.of(0xff, 0xff), /field tag is cut off, at byte 0$/],
      [Uint8Array.of(0x7b), /unsupported wire type 3 in field 15, at byte 0$/],
      [Uint8Array.of(0x0a), /length runs past the end in resource_spans/],
      [
        inSpan(0x29, 1),
        /wire type 1 does not fit the field in resource_spans.scope_spans.spans.name, at byte 6$/,
      ],
      [
        inSpan(0x39, 1, 2, 3),
        /8-byte value is cut off in resource_spans.scope_spans.spans.start_time_unix_nano/,
      ],
      [inSpan(0x30, 0xff, 0xff), /varint is cut off or longer than 10 bytes in .*spans.kind, at byte 7$/],
      [inSpan(0x30, ...new Array(10).fill(0x80), 1), /varint is cut off or longer than 10 bytes/],
      [inSpan(0x85, 0x01, 1, 2, 3), /4-byte value is cut off in .*spans.flags/],
      [inSpan(0x4a, 4, 0x0a, 9, 65, 66), /length runs past the end in .*spans.attributes.key/],
      [inSpan(0x2a, 0xff, 0xff, 0xff, 0xff, 0x0f), /length runs past the end in .*spans.name/],
    ];
    for (const [body, message] of cases) {
      const said = malformed('traces', body);
      assert.match(said, message);
      assert.match(said, /^Not an OTLP protobuf message: /);
    }
  });

  test('reads from the middle of a larger buffer', () => {
    const body = traces([span()]);
    const larger = Buffer.concat([Buffer.alloc(13, 0xff), body, Buffer.alloc(5, 0xff)]);
    assert.equal(check('traces', larger.subarray(13, 13 + body.length)).items, 1);
  });
});
