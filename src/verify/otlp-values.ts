/** Values at the edge of each type, as OTLP/JSON has them. */

/** OTLP/JSON. 64-bit integers are decimal text. */
export interface OtlpObject {
  [field: string]: OtlpValue;
}
export type OtlpValue = string | number | boolean | null | OtlpObject | OtlpValue[];

export const INT64_MAX = '9223372036854775807';
export const INT64_MIN = '-9223372036854775808';
export const UINT64_MAX = '18446744073709551615';
export const UINT32_MAX = 4294967295;
export const DOUBLE_MAX = 1.7976931348623157e308;
export const DOUBLE_MIN = 5e-324;
/** One nanosecond more than a double can tell from its neighbour. */
export const BEYOND_DOUBLE = '9007199254740993';
export const SCHEMA_URL = 'https://opentelemetry.io/schemas/1.37.0';

export const AWKWARD_TEXT = 'grün 漢字 😀 "quoted" \\ \n\t\u0000 end';
const nested = (depth: number): OtlpObject =>
  depth === 0
    ? { intValue: INT64_MIN }
    : { arrayValue: { values: [{ kvlistValue: { values: [kv('in', nested(depth - 1))] } }] } };

export function kv(key: string, value: OtlpObject | null): OtlpObject {
  return { key, value };
}

/** An attribute of every type, at every edge. */
export const ALL_ATTRIBUTES: OtlpObject[] = [
  kv('text', { stringValue: AWKWARD_TEXT }),
  kv('text.empty', { stringValue: '' }),
  kv('text.like.number', { stringValue: '1' }),
  kv('bool.true', { boolValue: true }),
  kv('bool.false', { boolValue: false }),
  kv('int.zero', { intValue: '0' }),
  kv('int.max', { intValue: INT64_MAX }),
  kv('int.min', { intValue: INT64_MIN }),
  kv('int.beyond.double', { intValue: BEYOND_DOUBLE }),
  kv('double', { doubleValue: 0.1 }),
  kv('double.whole', { doubleValue: 3 }),
  kv('double.max', { doubleValue: DOUBLE_MAX }),
  kv('double.min', { doubleValue: DOUBLE_MIN }),
  kv('double.negative.zero', { doubleValue: '-0' }),
  kv('double.nan', { doubleValue: 'NaN' }),
  kv('double.infinity', { doubleValue: 'Infinity' }),
  kv('double.negative.infinity', { doubleValue: '-Infinity' }),
  kv('bytes', { bytesValue: 'AAEC/f7/' }),
  kv('bytes.empty', { bytesValue: '' }),
  kv('empty', {}),
  kv('absent', null),
  kv('array', {
    arrayValue: {
      values: [
        { stringValue: 'a,"]' },
        { intValue: INT64_MAX },
        { doubleValue: 2 },
        { doubleValue: 'NaN' },
        { boolValue: true },
        { bytesValue: 'AAH/' },
        {},
        { arrayValue: { values: [{ intValue: '1' }] } },
      ],
    },
  }),
  kv('array.empty', { arrayValue: { values: [] } }),
  kv('list', {
    kvlistValue: {
      values: [
        kv('int', { intValue: INT64_MIN }),
        kv('text', { stringValue: AWKWARD_TEXT }),
        kv('none', {}),
        kv('', { boolValue: false }),
      ],
    },
  }),
  kv('list.empty', { kvlistValue: { values: [] } }),
  kv('nested', nested(8)),
  kv('schlüssel mit "zeichen"', { stringValue: 'key with awkward characters' }),
  kv('__proto__', { stringValue: 'just a name' }),
  kv('7', { stringValue: 'a key like an index' }),
];

/** A value of each type that a log body can have. */
export const BODIES: (OtlpObject | null)[] = [
  { stringValue: AWKWARD_TEXT },
  { boolValue: true },
  { intValue: INT64_MIN },
  { doubleValue: '-Infinity' },
  { bytesValue: 'AP8=' },
  { arrayValue: { values: [{ intValue: BEYOND_DOUBLE }, { stringValue: 'two' }] } },
  { kvlistValue: { values: [kv('int', { intValue: INT64_MAX }), kv('list', nested(2))] } },
  {},
  null,
];
