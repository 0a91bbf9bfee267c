import { isUtf8 } from 'node:buffer';

/**
 * The protobuf wire format, read with a cursor. Positions are numbers, nothing is allocated.
 * Specification: https://protobuf.dev/programming-guides/encoding/
 */

/** Arrays and key-value lists may be nested this deep; an item with a deeper value is rejected. */
export const MAX_VALUE_DEPTH = 64;

/**
 * Where the varint that was read last ended (one element; a shared cell, because functions return one number). After
 * one that is cut off it is the end of what could be read, so that a reader never goes back.
 */
export const varintEnd = new Int32Array(1);
/** Low and high half of the 64-bit varint that was read last. */
export const varint64 = new Int32Array(2);

/**
 * Low 32 bits of the varint at `pos`; the position after it is left in `varintEnd`.
 * Bits beyond 32 are dropped, as protobuf does for 32-bit fields.
 *
 * @returns unsigned 32-bit number, or -1 when the varint does not end before `end` or within 10 bytes
 */
export function readVarint32(bytes: Uint8Array, pos: number, end: number): number {
  const last = Math.min(pos + 10, end);
  let value = 0;
  for (let shift = 0; pos < last; shift += 7) {
    const byte = bytes[pos++];
    if (shift < 32) value |= (byte & 0x7f) << shift;
    if (byte < 0x80) {
      varintEnd[0] = pos;
      return value >>> 0;
    }
  }
  varintEnd[0] = end;
  return -1;
}

/**
 * A length as the prefix of a length-delimited field.
 *
 * @returns the length, or -1 when the varint is cut off, longer than 10 bytes or its value does not fit 31 bits
 */
export function readLength(bytes: Uint8Array, pos: number, end: number): number {
  const low = readVarint64(bytes, pos, end);
  return low >= 0 && varint64[1] === 0 && varint64[0] >= 0 ? varint64[0] : -1;
}

/**
 * All 64 bits of the varint at `pos`, left in `varint64`; the position after it in `varintEnd`.
 *
 * @returns 0, or -1 when the varint does not end before `end` or within 10 bytes
 */
export function readVarint64(bytes: Uint8Array, pos: number, end: number): number {
  const last = Math.min(pos + 10, end);
  let low = 0;
  let high = 0;
  for (let shift = 0; pos < last; shift += 7) {
    const byte = bytes[pos++];
    const bits = byte & 0x7f;
    if (shift < 28) low |= bits << shift;
    else if (shift === 28) {
      low |= bits << 28;
      high = bits >>> 4;
    } else if (shift < 64) high |= bits << (shift - 32);
    if (byte < 0x80) {
      varint64[0] = low;
      varint64[1] = high;
      varintEnd[0] = pos;
      return 0;
    }
  }
  varintEnd[0] = end;
  return -1;
}

/** Not 0 when a byte of [pos, end) has its high bit set, which in text means: not ASCII. */
export function highBits(view: DataView, pos: number, end: number): number {
  let bits = 0;
  const words = end - 3;
  for (; pos < words; pos += 4) bits |= view.getInt32(pos, true);
  for (; pos < end; pos++) bits |= view.getInt8(pos);
  return bits & 0x80808080;
}

/** Up to this many bytes the loop below is faster than making a view for the native check. */
const SHORT_TEXT = 256;

/** Whether [pos, end) is well-formed UTF-8 (no overlong forms, no surrogates, at most U+10FFFF). */
export function isUtf8Text(bytes: Uint8Array, pos: number, end: number): boolean {
  if (end - pos > SHORT_TEXT) return isUtf8(bytes.subarray(pos, end));
  while (pos < end) {
    const lead = bytes[pos++];
    if (lead < 0x80) continue;
    if (lead < 0xc2 || lead > 0xf4) return false;
    const more = lead < 0xe0 ? 1 : lead < 0xf0 ? 2 : 3;
    if (pos + more > end) return false;
    const next = bytes[pos];
    if ((lead === 0xe0 && next < 0xa0) || (lead === 0xed && next > 0x9f)) return false;
    if ((lead === 0xf0 && next < 0x90) || (lead === 0xf4 && next > 0x8f)) return false;
    for (const stop = pos + more; pos < stop; pos++) if ((bytes[pos] & 0xc0) !== 0x80) return false;
  }
  return true;
}

/** What reading a body throws that did not pass the check first. */
export function notChecked(): RangeError {
  return new RangeError('bytes that the check pass would have refused');
}

/**
 * The length at `pos` of a checked body; the position after it is left in `varintEnd`.
 *
 * @throws RangeError when the field runs past `end`
 */
export function longLength(bytes: Uint8Array, pos: number, end: number): number {
  const length = readLength(bytes, pos, end);
  if (length < 0 || varintEnd[0] + length > end) throw notChecked();
  return length;
}

/**
 * The position after the payload at `pos` of a field with this tag.
 *
 * @throws RangeError when the field runs past `end` or the wire type is not one of OTLP's
 */
export function skipField(bytes: Uint8Array, tag: number, pos: number, end: number): number {
  let next = -1;
  if ((tag & 7) === 0) {
    if (readVarint64(bytes, pos, end) === 0) next = varintEnd[0];
  } else if ((tag & 7) === 1) next = pos + 8;
  else if ((tag & 7) === 2) {
    const length = longLength(bytes, pos, end);
    next = varintEnd[0] + length;
  } else if ((tag & 7) === 5) next = pos + 4;
  if (next < 0 || next > end) throw notChecked();
  return next;
}

/**
 * The position after a run of fields with tag 0x12 (field 2, length-delimited: what a block has most of) that begins
 * at `pos`, which may be empty. Fields with lengths of three bytes and more end the run.
 */
export function skipRun(bytes: Uint8Array, pos: number, end: number): number {
  while (pos + 2 < end && bytes[pos] === 0x12) {
    const first = bytes[pos + 1];
    const second = bytes[pos + 2];
    let next = pos + 2 + first;
    if (first > 0x7f) {
      if (second > 0x7f) break;
      next = pos + 3 + (first & 0x7f) + (second << 7);
    }
    if (next > end) break;
    pos = next;
  }
  return pos;
}

/**
 * True when [pos, end) is a KeyValue as every SDK writes it (key, value, nothing else, lengths under 128) with a plain
 * value and ASCII text, so that nothing is left to check. Anything else goes the general way.
 */
export function isPlainKeyValue(bytes: Uint8Array, view: DataView, pos: number, end: number): boolean {
  if (end - pos < 4 || bytes[pos] !== 0x0a) return false;
  const keyLength = bytes[pos + 1];
  const value = pos + 2 + keyLength;
  if (keyLength > 0x7f || value + 4 > end || bytes[value] !== 0x12) return false;
  if (bytes[value + 1] !== end - value - 2 || bytes[value + 1] > 0x7f) return false;
  if (highBits(view, pos + 2, value) !== 0) return false;
  const at = value + 2;
  switch (bytes[at]) {
    case 0x0a:
      return bytes[at + 1] === end - at - 2 && highBits(view, at + 2, end) === 0;
    case 0x10:
    case 0x18: {
      const last = end - 1;
      if (last - at > 10 || bytes[last] > 0x7f) return false;
      for (let i = at + 1; i < last; i++) if (bytes[i] < 0x80) return false;
      return true;
    }
    case 0x21:
      return end - at === 9;
    default:
      return false;
  }
}
