import type { ByteSink } from './byte-sink.js';

/** Numbers as decimal text, straight into bytes. */

const ZERO = 0x30;
const BASE64 = Uint8Array.from(
  Buffer.from('ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/'),
);

/** Appends a whole number from 0 to 2^53. */
export function appendWhole(sink: ByteSink, value: number): void {
  sink.reserve(20);
  let digits = 1;
  for (let limit = 10; value >= limit; limit *= 10) digits++;
  writeDigits(sink, value, digits);
}

/** Appends exactly `digits` digits, zeros in front where needed; room must have been reserved. */
function writeDigits(sink: ByteSink, value: number, digits: number): void {
  const { bytes } = sink;
  let at = sink.length + digits;
  sink.length = at;
  const first = at - digits;
  while (value > 0x7fffffff) {
    const rest = Math.floor(value / 10);
    bytes[--at] = ZERO + (value - rest * 10);
    value = rest;
  }
  let small = value | 0;
  while (at > first) {
    const rest = (small / 10) | 0;
    bytes[--at] = ZERO + (small - rest * 10);
    small = rest;
  }
}

/** Appends a signed 64-bit integer given as halves. */
export function appendInt64(sink: ByteSink, low: number, high: number): void {
  low >>>= 0;
  if (high < 0) {
    sink.appendByte(0x2d);
    // two's complement; the high half is taken as unsigned, so -2^63 becomes 2^63
    high = low === 0 ? -high : ~high;
    low = -low;
  }
  high >>>= 0;
  low >>>= 0;
  if (high < 0x200000) {
    appendWhole(sink, high * 4294967296 + low);
    return;
  }
  // Beyond 2^53: divide by 10^9 by hand, in steps whose every number is exact.
  const upper = Math.floor(high / 1e9);
  const middle = (high - upper * 1e9) * 65536 + (low >>> 16);
  const middleQuotient = Math.floor(middle / 1e9);
  const lowest = (middle - middleQuotient * 1e9) * 65536 + (low & 0xffff);
  const lowestQuotient = Math.floor(lowest / 1e9);
  appendWhole(sink, upper * 4294967296 + middleQuotient * 65536 + lowestQuotient);
  sink.reserve(9);
  writeDigits(sink, lowest - lowestQuotient * 1e9, 9);
}

/**
 * Appends a double as the shortest text that reads back as the same double, in JavaScript's form; also `NaN`,
 * `Infinity`, `-Infinity` and `-0`.
 */
export function appendDouble(sink: ByteSink, value: number): void {
  if (value === 0 || !(Math.abs(value) < 1e15 && Math.abs(value) >= 1e-6)) {
    appendAscii(sink, Object.is(value, -0) ? '-0' : String(value));
    return;
  }
  const size = Math.abs(value);
  const whole = Math.floor(size);
  // With up to 15 digits there is one decimal for a double, so if six places are enough, this is the shortest text.
  const micros = Math.round(size * 1e6);
  if (whole !== size && (micros >= 1e15 || micros / 1e6 !== size)) {
    appendAscii(sink, String(value));
    return;
  }
  if (value < 0) sink.appendByte(0x2d);
  appendWhole(sink, whole);
  if (whole === size) return;
  let places = 6;
  let fraction = (micros - whole * 1e6) | 0;
  while (fraction % 10 === 0) {
    fraction = (fraction / 10) | 0;
    places--;
  }
  sink.reserve(8);
  sink.bytes[sink.length++] = 0x2e;
  writeDigits(sink, fraction, places);
}

export function appendAscii(sink: ByteSink, text: string): void {
  sink.reserve(text.length);
  for (let i = 0; i < text.length; i++) sink.bytes[sink.length++] = text.charCodeAt(i);
}

/** Appends bytes [pos, end) in base64 with padding. */
export function appendBase64(sink: ByteSink, source: ByteSink, pos: number, end: number): void {
  sink.reserve(base64Size(end - pos));
  const from = source.bytes;
  const to = sink.bytes;
  let at = sink.length;
  for (; pos < end; pos += 3) {
    const left = end - pos;
    const second = left > 1 ? from[pos + 1] : 0;
    const bits = (from[pos] << 16) | (second << 8) | (left > 2 ? from[pos + 2] : 0);
    to[at++] = BASE64[bits >> 18];
    to[at++] = BASE64[(bits >> 12) & 63];
    to[at++] = left > 1 ? BASE64[(bits >> 6) & 63] : 0x3d;
    to[at++] = left > 2 ? BASE64[bits & 63] : 0x3d;
  }
  sink.length = at;
}

/** Length of `bytes` bytes in base64. */
export function base64Size(bytes: number): number {
  return Math.ceil(bytes / 3) * 4;
}
