import assert from 'node:assert/strict';
import { test } from 'node:test';
import protobuf from 'protobufjs';
import { otlp } from '../../test/support/otlp-proto.js';
import { AppError } from '../errors.js';
import type { Signal } from '../signal.js';
import { jsonToProtobuf } from './json.js';

interface PlainSpan {
  traceId: Uint8Array;
  spanId: Uint8Array;
  name: string;
  kind: number;
  startTimeUnixNano: string;
  attributes: { key: string; value: Record<string, unknown> | null }[];
}

const spanBody = (span: string) => `{"resourceSpans":[{"scopeSpans":[{"spans":[{},${span}]}]}]}`;
const pointBody = (point: string) =>
  `{"resourceMetrics":[{"scopeMetrics":[{"metrics":[{"histogram":{"dataPoints":[${point}]}}]}]}]}`;
const convert = (body: string | Uint8Array, signal: Signal = 'traces') =>
  jsonToProtobuf(signal, Buffer.from(body));

function readSpan(span: string): PlainSpan {
  const request = otlp.traces.toObject(otlp.traces.decode(convert(spanBody(span))), {
    longs: String,
    defaults: true,
  }) as {
    resourceSpans: { scopeSpans: { spans: PlainSpan[] }[] }[];
  };
  return request.resourceSpans[0].scopeSpans[0].spans[1];
}

function refusal(body: string | Uint8Array, signal: Signal = 'traces'): string {
  try {
    convert(body, signal);
  } catch (error) {
    assert.ok(error instanceof AppError, String(error));
    assert.equal(error.code, 'MALFORMED_BODY');
    return error.message;
  }
  assert.fail(`accepted: ${Buffer.from(body).toString().slice(0, 100)}`);
}

test('a request without items, or with nothing that OTLP knows, is an empty request', () => {
  for (const body of [
    '{}',
    ' \n{ } ',
    '{"foo":1}',
    '{"resourceSpans":null}',
    '{"resourceSpans":[]}',
    '\ufeff{}',
  ]) {
    assert.equal(convert(body).length, 0, body);
  }
});

test('a body that is JSON but not an object is refused', () => {
  assert.equal(refusal('[]'), 'the body: expected an object, got an array');
  assert.equal(refusal('"x"'), 'the body: expected an object, got "x"');
  assert.equal(refusal('null'), 'the body: expected an object, got null');
  assert.equal(refusal('1'), 'the body: expected an object, got 1');
});

test('a body that is not JSON is refused with the byte', () => {
  const cases: [string, string][] = [
    ['', 'invalid JSON at byte 0: expected a JSON value, but the body ends'],
    ['{"resourceSpans":[', 'invalid JSON at byte 18: expected a JSON value, but the body ends'],
    ['{"a":1,}', 'invalid JSON at byte 7: expected a value after ",", got }'],
    ['{"a" 1}', 'invalid JSON at byte 5: expected ":" after a key, got 1'],
    ["{'a':1}", "invalid JSON at byte 1: expected a key in double quotes, got '"],
    ['{"a":01}', 'invalid JSON at byte 6: expected "," or "}", got 1'],
    ['{"a":1.}', 'invalid JSON at byte 5: a number is not written as JSON allows'],
    ['{"a":"\\x"}', 'invalid JSON at byte 6: a string has an escape that JSON does not know'],
    ['{"a":"\\u12"}', 'invalid JSON at byte 6: a string has an escape that JSON does not know'],
    ['{"a":"\n"}', 'invalid JSON at byte 6: control characters in a string must be escaped'],
    ['{"a":"b', 'invalid JSON at byte 5: a string is not closed'],
    ['{"a":nul}', 'invalid JSON at byte 5: expected a JSON value, got n'],
    ['{} x', 'invalid JSON at byte 3: expected nothing more, got x'],
    ['\0', 'invalid JSON at byte 0: expected a JSON value, got byte 0x0'],
  ];
  for (const [body, message] of cases) assert.equal(refusal(body).slice(0, message.length), message, body);
});

test('a value of the wrong type or range is refused with its path and what was given', () => {
  const time =
    'resourceSpans[0].scopeSpans[0].spans[1].startTimeUnixNano: expected an unsigned 64-bit integer, got';
  const cases: [string, string][] = [
    ['{"startTimeUnixNano":"12x"}', `${time} "12x"`],
    ['{"startTimeUnixNano":-1}', `${time} -1`],
    ['{"startTimeUnixNano":1.5}', `${time} 1.5`],
    ['{"startTimeUnixNano":18446744073709551616}', `${time} 18446744073709551616`],
    ['{"startTimeUnixNano":1e400}', `${time} 1e400`],
    ['{"startTimeUnixNano":""}', `${time} ""`],
    ['{"startTimeUnixNano":true}', `${time} true`],
    ['{"startTimeUnixNano":{"low":1}}', `${time} an object`],
    [
      '{"kind":"SPAN_KIND_SERVER"}',
      'spans[1].kind: expected a 32-bit integer (OTLP/JSON takes the numbers of enums, not their names), got "SPAN_KIND_SERVER"',
    ],
    ['{"name":5}', 'spans[1].name: expected a string, got 5'],
    ['{"traceId":5}', 'spans[1].traceId: expected a string of hex digits, got 5'],
    ['{"flags":4294967296}', 'spans[1].flags: expected an unsigned 32-bit integer, got 4294967296'],
    ['{"attributes":{"a":1}}', 'spans[1].attributes: expected an array, got an object'],
    ['{"attributes":[null]}', 'spans[1].attributes[0]: expected an object, got null'],
    ['{"attributes":[{},{"value":"x"}]}', 'spans[1].attributes[1].value: expected an object, got "x"'],
    [
      '{"attributes":[{"value":{"boolValue":"true"}}]}',
      'value.boolValue: expected true or false, got "true"',
    ],
    [
      '{"attributes":[{"value":{"intValue":9223372036854775808}}]}',
      'intValue: expected a signed 64-bit integer',
    ],
    ['{"attributes":[{"value":{"bytesValue":"a"}}]}', 'bytesValue: expected a string in base64, got "a"'],
    [
      '{"attributes":[{"value":{"bytesValue":"a*=="}}]}',
      'bytesValue: expected a string in base64, got "a*=="',
    ],
    ['{"attributes":[{"value":{"doubleValue":1e400}}]}', 'doubleValue: expected a number, or "NaN"'],
    ['{"attributes":[{"value":{"doubleValue":"constructor"}}]}', 'doubleValue: expected a number, or "NaN"'],
    [`{"name":["${'x'.repeat(99)}"]}`, 'spans[1].name: expected a string, got an array'],
  ];
  for (const [span, message] of cases)
    assert.ok(refusal(spanBody(span)).includes(message), refusal(spanBody(span)));
  assert.equal(
    refusal(pointBody('{"bucketCounts":[1,"2","x"]}'), 'metrics'),
    'resourceMetrics[0].scopeMetrics[0].metrics[0].histogram.dataPoints[0].bucketCounts[2]: ' +
      'expected an unsigned 64-bit integer, got "x"',
  );
  assert.match(refusal(spanBody(`{"name":{},"kind":"${'x'.repeat(99)}"}`)), /got an object$/);
  assert.match(refusal(spanBody(`{"kind":"${'x'.repeat(99)}"}`)), /got "x{39}\.\.\.$/);
});

test('64-bit integers written as numbers keep every digit', () => {
  const cases = [
    ['1763900000123456789', '1763900000123456789'],
    ['9007199254740993', '9007199254740993'],
    ['18446744073709551615', '18446744073709551615'],
    ['"18446744073709551615"', '18446744073709551615'],
    ['1763900000123456789.000', '1763900000123456789'],
    ['1.763900000123456789e18', '1763900000123456789'],
    ['1.5E3', '1500'],
    ['-0', '0'],
    ['0e5', '0'],
  ];
  for (const [written, value] of cases) {
    assert.equal(readSpan(`{"startTimeUnixNano":${written}}`).startTimeUnixNano, value, written);
  }
});

test('ids are hex in either case; whatever else is written becomes an id of a wrong length', () => {
  const read = (written: string) => Buffer.from(readSpan(`{"spanId":${written}}`).spanId).toString('hex');
  assert.equal(read('"00aAfF0102030405"'), '00aaff0102030405');
  assert.equal(read('"\\u0030\\u0030aa"'), '00aa');
  assert.equal(read('""'), '');
  for (const wrong of ['"abc"', '"zzzzzzzzzzzzzzzz"', '"AAAAAAAAAAA="']) assert.equal(read(wrong), '00');
});

test('empty values are values: they are not dropped as defaults', () => {
  const attributes = [
    '{"stringValue":""}',
    '{"boolValue":false}',
    '{"intValue":0}',
    '{"doubleValue":0}',
    '{}',
    'null',
  ];
  const span = readSpan(
    `{"attributes":[${attributes.map((value) => `{"key":"k","value":${value}}`).join()}]}`,
  );
  assert.deepEqual(
    span.attributes.map((attribute) => attribute.value),
    [{ stringValue: '' }, { boolValue: false }, { intValue: '0' }, { doubleValue: 0 }, {}, null],
  );
});

test('a lone surrogate becomes U+FFFD, a pair its character', () => {
  assert.equal(
    readSpan('{"name":"a\\ud800b\\udc00c\\ud83d\\ude00\\ud800\\ud83d\\ude00"}').name,
    'a\ufffdb\ufffdc😀\ufffd😀',
  );
});

test('bytes that are not UTF-8 are handed on as they are', () => {
  const body = Buffer.from(spanBody('{"name":"a?b"}'));
  body[body.indexOf('?')] = 0xff;
  assert.ok(Buffer.from(convert(body)).includes(Buffer.from([0x2a, 3, 0x61, 0xff, 0x62])));
});

test('keys that mean something to JavaScript are names like any other', () => {
  const span = readSpan(
    '{"__proto__":{"name":"evil"},"constructor":1,"attributes":[{"key":"__proto__"}],"name":"n"}',
  );
  assert.equal(span.name, 'n');
  assert.equal(span.attributes[0].key, '__proto__');
  assert.equal(({} as { name?: string }).name, undefined);
});

test('a key written with escapes is the same key; snake_case is another one', () => {
  assert.equal(readSpan('{"n\\u0061me":"n"}').name, 'n');
  assert.equal(readSpan('{"kind":2,"start_time_unix_nano":"x"}').kind, 2);
});

test('enum numbers that OTLP does not have are handed on', () => {
  assert.equal(readSpan('{"kind":77}').kind, 77);
  assert.equal(readSpan('{"kind":-1}').kind, -1);
});

function nestedLists(depth: number): string {
  const open = '{"kvlistValue":{"values":[{"key":"k","value":';
  return spanBody(`{"attributes":[{"key":"k","value":${open.repeat(depth)}{}${'}]}}'.repeat(depth)}}]}`);
}

/** How many messages are inside each other, going into the last field of each. */
function nestedMessages(bytes: Uint8Array): number {
  let depth = 0;
  for (let message = bytes; message.length > 0; depth++) {
    const reader = protobuf.Reader.create(message);
    while (reader.pos < reader.len) {
      assert.equal(reader.uint32() & 7, 2);
      message = reader.bytes();
    }
  }
  return depth;
}

test('64 nested values and somewhat more are let through, far deeper ones refused with the limit', () => {
  // Five messages from the request to the attribute's value, then three for each list in a list.
  for (const depth of [1, 40, 64, 120])
    assert.equal(nestedMessages(convert(nestedLists(depth))), 5 + 3 * depth);
  assert.match(
    refusal(nestedLists(1000)),
    /^invalid JSON at byte \d+: objects and arrays are nested more than 512 deep$/,
  );
  assert.match(refusal(`{"notInOtlp":${'['.repeat(1_000_000)}`), /nested more than 512 deep/);
});

test('lengths of one to four bytes are right', () => {
  for (const length of [0, 127, 128, 16_383, 16_384, 2_097_152]) {
    assert.equal(
      readSpan(`{"attributes":[{"key":"${'k'.repeat(length)}"}],"name":"n"}`).attributes[0].key.length,
      length,
    );
  }
});

test('a field given twice is read like in protobuf: the last value counts, lists are joined', () => {
  const span = readSpan('{"name":"a","attributes":[{"key":"a"}],"name":"b","attributes":[{"key":"b"}]}');
  assert.equal(span.name, 'b');
  assert.deepEqual(
    span.attributes.map(({ key }) => key),
    ['a', 'b'],
  );
});
