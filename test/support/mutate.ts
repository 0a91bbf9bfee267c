import type { Random } from './seed.js';

const BYTES = [0x00, 0x01, 0x7f, 0x80, 0xff, 0x0a, 0x12, 0x22, 0x5b, 0x7b];
const LONGS = [
  0n,
  1n,
  2n ** 63n - 1n,
  2n ** 63n,
  2n ** 64n - 1n,
  0x7ff0000000000000n,
  0x7ff8000000000001n,
  0xfff0000000000000n,
];
const JSON_VALUES = [
  'null',
  'true',
  '0',
  '-1',
  '1e400',
  '-0',
  '9007199254740993',
  '18446744073709551616',
  '"NaN"',
  '"-Infinity"',
  '""',
  '"\\ud800"',
  '"\\u0000"',
  '[]',
  '{}',
  '[[[[[[[[]]]]]]]]',
  '{"a":{"a":{"a":{}}}}',
  '"AAAA"',
  '"not base64!"',
  '1.5',
  '"1.5"',
];

type Mutation = (bytes: Buffer, random: Random) => Buffer;

function range(bytes: Buffer, random: Random, longest: number): [from: number, to: number] {
  const from = random.below(bytes.length + 1);
  return [from, Math.min(bytes.length, from + 1 + random.below(longest))];
}

const splice = (bytes: Buffer, from: number, to: number, ...insert: Uint8Array[]) =>
  Buffer.concat([bytes.subarray(0, from), ...insert, bytes.subarray(to)]);

const flipBit: Mutation = (bytes, random) => {
  if (bytes.length > 0) bytes[random.below(bytes.length)] ^= 1 << random.below(8);
  return bytes;
};
const setByte: Mutation = (bytes, random) => {
  if (bytes.length > 0) bytes[random.below(bytes.length)] = random.pick(BYTES);
  return bytes;
};
const setLong: Mutation = (bytes, random) => {
  if (bytes.length >= 8) bytes.writeBigUInt64LE(random.pick(LONGS), random.below(bytes.length - 7));
  return bytes;
};
const remove: Mutation = (bytes, random) => splice(bytes, ...range(bytes, random, 40));
const repeat: Mutation = (bytes, random) => {
  const [from, to] = range(bytes, random, 40);
  return splice(bytes, to, to, bytes.subarray(from, to));
};
const insert: Mutation = (bytes, random) => {
  const at = random.below(bytes.length + 1);
  return splice(
    bytes,
    at,
    at,
    Buffer.from(Array.from({ length: 1 + random.below(12) }, () => random.below(256))),
  );
};
const cut: Mutation = (bytes, random) => bytes.subarray(0, random.below(bytes.length + 1));
const overwrite: Mutation = (bytes, random) => {
  const [from, to] = range(bytes, random, 12);
  for (let at = from; at < to; at++) bytes[at] = random.below(256);
  return bytes;
};
/** An unknown field at the end, of any wire type, which must be ignored. */
const unknownField: Mutation = (bytes, random) =>
  Buffer.concat([
    bytes,
    Buffer.from(
      random.pick(['f80101', 'f901' + '00'.repeat(8), 'fa0103616263', 'fd0100000000', 'fb01fc01', 'fb01']),
      'hex',
    ),
  ]);

/** Another JSON value in the place of a value. */
const swapValue: Mutation = (bytes, random) => {
  const colons: number[] = [];
  for (let at = bytes.indexOf(':'); at >= 0; at = bytes.indexOf(':', at + 1)) colons.push(at);
  if (colons.length === 0) return bytes;
  const from = random.pick(colons) + 1;
  let to = from;
  if (bytes[from] === 0x22) to = bytes.indexOf('"', from + 1) + 1;
  else while (to < bytes.length && !',}]'.includes(String.fromCharCode(bytes[to]))) to++;
  return splice(bytes, from, Math.max(to, from), Buffer.from(random.pick(JSON_VALUES)));
};
const dropByte: Mutation = (bytes, random) => {
  const at = random.below(bytes.length + 1);
  return splice(bytes, at, Math.min(at + 1, bytes.length));
};

const PROTOBUF: Mutation[] = [
  flipBit,
  flipBit,
  setByte,
  setLong,
  remove,
  repeat,
  insert,
  cut,
  overwrite,
  unknownField,
];
const JSON_TEXT: Mutation[] = [
  swapValue,
  swapValue,
  swapValue,
  flipBit,
  setByte,
  remove,
  repeat,
  cut,
  dropByte,
];

/** One random change to a copy of a body, or a few. */
export function mutate(body: Buffer, encoding: 'protobuf' | 'json', random: Random): Buffer {
  let bytes: Buffer = Buffer.from(body);
  for (let left = Math.max(1, random.below(6) - 2); left > 0; left--) {
    bytes = random.pick(encoding === 'json' ? JSON_TEXT : PROTOBUF)(bytes, random);
  }
  return bytes;
}
