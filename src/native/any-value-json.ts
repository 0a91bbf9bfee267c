import {
  longLength,
  MAX_VALUE_DEPTH,
  readVarint32,
  readVarint64,
  skipField,
  varint64,
  varintEnd,
} from '../otlp/wire.js';
import { ByteSink } from './byte-sink.js';
import { appendAscii, appendBase64, appendDouble, appendInt64, appendWhole } from './number-text.js';

/**
 * Finding what is in AnyValue and KeyValue messages, and nested values as JSON. Recursive, but never deeper than
 * MAX_VALUE_DEPTH.
 */

/** Characters of the type signature. */
export const STRING = 0x73;
export const BOOL = 0x62;
export const INT = 0x69;
export const DOUBLE = 0x64;
export const BYTES = 0x79;
export const EMPTY = 0x6e;
const OPEN_ARRAY = 0x5b;
const CLOSE_ARRAY = 0x5d;
const OPEN_LIST = 0x7b;
const CLOSE_LIST = 0x7d;

const QUOTE = 0x22;
const COMMA = 0x2c;
const COLON = 0x3a;
const BACKSLASH = 0x5c;
const HEX = Buffer.from('0123456789abcdef');
const discarded = new ByteSink();
const discardedTypes = new ByteSink();

/** Field numbers of AnyValue's oneof. */
export const STRING_FIELD = 1;
export const BOOL_FIELD = 2;
// 3 is int_value: what is left when all others are asked for
export const DOUBLE_FIELD = 4;
export const ARRAY_FIELD = 5;
export const LIST_FIELD = 6;
export const BYTES_FIELD = 7;

/** What `findMember` found: field number (0: none set) and where the payload is, without its length. */
export let memberField = 0;
export let memberAt = 0;
export let memberEnd = 0;

/**
 * Finds which member of the oneof is set: the last one in the bytes.
 *
 * @param depth containers around this value
 * @returns false when a member that was replaced by a later one is nested too deeply
 */
export function findMember(source: ByteSink, pos: number, end: number, depth: number): boolean {
  const { bytes } = source;
  let field = 0;
  let at = 0;
  let until = 0;
  while (pos < end) {
    const tag = readVarint32(bytes, pos, end);
    pos = varintEnd[0];
    let begin = pos;
    if ((tag & 7) === 2) {
      const length = longLength(bytes, pos, end);
      begin = varintEnd[0];
      pos = begin + length;
    } else pos = skipField(bytes, tag, pos, end);
    const number = tag >>> 3;
    if (number > BYTES_FIELD) continue;
    const isReplaced = field === ARRAY_FIELD || field === LIST_FIELD;
    if (isReplaced && !isShallow(source, field, at, until, depth)) return false;
    field = number;
    at = begin;
    until = pos;
  }
  memberField = field;
  memberAt = at;
  memberEnd = until;
  return true;
}

function isShallow(source: ByteSink, field: number, pos: number, end: number, depth: number): boolean {
  discarded.length = 0;
  discardedTypes.length = 0;
  return appendContainer(source, field, pos, end, depth + 1, discarded, discardedTypes);
}

/** Appends bool, int or double as bare text. @returns the signature character */
export function appendNumber(
  source: ByteSink,
  field: number,
  pos: number,
  end: number,
  text: ByteSink,
): number {
  if (field === DOUBLE_FIELD) {
    appendDouble(text, source.view.getFloat64(pos, true));
    return DOUBLE;
  }
  readVarint64(source.bytes, pos, end);
  const low = varint64[0];
  const high = varint64[1];
  if (field === BOOL_FIELD) {
    appendAscii(text, (low | high) === 0 ? 'false' : 'true');
    return BOOL;
  }
  if (high === 0 && low >= 0) appendWhole(text, low);
  else appendInt64(text, low, high);
  return INT;
}

/** Appends an array or key-value list as JSON. @param depth containers including this one */
export function appendContainer(
  source: ByteSink,
  field: number,
  pos: number,
  end: number,
  depth: number,
  out: ByteSink,
  types: ByteSink,
): boolean {
  if (depth > MAX_VALUE_DEPTH) return false;
  const isArray = field === ARRAY_FIELD;
  types.appendByte(isArray ? OPEN_ARRAY : OPEN_LIST);
  out.appendByte(isArray ? OPEN_ARRAY : OPEN_LIST);
  const { bytes } = source;
  let members = 0;
  while (pos < end) {
    const tag = readVarint32(bytes, pos, end);
    pos = varintEnd[0];
    if (tag !== 0x0a) {
      pos = skipField(bytes, tag, pos, end);
      continue;
    }
    const length = longLength(bytes, pos, end);
    const begin = varintEnd[0];
    pos = begin + length;
    if (members++ > 0) out.appendByte(COMMA);
    const isKept = isArray
      ? appendJson(source, begin, pos, depth, out, types)
      : appendJsonPair(source, begin, pos, depth, out, types);
    if (!isKept) return false;
  }
  types.appendByte(isArray ? CLOSE_ARRAY : CLOSE_LIST);
  out.appendByte(isArray ? CLOSE_ARRAY : CLOSE_LIST);
  return true;
}

/** Appends an AnyValue as JSON. @param depth containers around it */
function appendJson(
  source: ByteSink,
  pos: number,
  end: number,
  depth: number,
  out: ByteSink,
  types: ByteSink,
): boolean {
  if (!findMember(source, pos, end, depth)) return false;
  const field = memberField;
  switch (field) {
    case ARRAY_FIELD:
    case LIST_FIELD:
      return appendContainer(source, field, memberAt, memberEnd, depth + 1, out, types);
    case STRING_FIELD:
      types.appendByte(STRING);
      appendJsonString(source, memberAt, memberEnd, out);
      return true;
    case BYTES_FIELD:
      types.appendByte(BYTES);
      out.appendByte(QUOTE);
      appendBase64(out, source, memberAt, memberEnd);
      out.appendByte(QUOTE);
      return true;
    case 0:
      types.appendByte(EMPTY);
      appendAscii(out, 'null');
      return true;
    case DOUBLE_FIELD:
      types.appendByte(DOUBLE);
      appendJsonDouble(out, source.view.getFloat64(memberAt, true));
      return true;
    default:
      types.appendByte(appendNumber(source, field, memberAt, memberEnd, out));
      return true;
  }
}

/** JSON has no NaN and no infinities: they are strings, as in OTLP/JSON. */
function appendJsonDouble(out: ByteSink, value: number): void {
  if (!Number.isFinite(value)) out.appendByte(QUOTE);
  appendDouble(out, value);
  if (!Number.isFinite(value)) out.appendByte(QUOTE);
}

/** Appends a KeyValue message as `"key":value`. */
function appendJsonPair(
  source: ByteSink,
  pos: number,
  end: number,
  depth: number,
  out: ByteSink,
  types: ByteSink,
): boolean {
  if (!readKeyValue(source, pos, end, depth)) return false;
  const valueAt = pairValueAt;
  const valueEnd = pairValueEnd;
  appendJsonString(source, pairKeyAt, pairKeyEnd, out);
  out.appendByte(COLON);
  return appendJson(source, valueAt, valueEnd, depth, out, types);
}

/** What `readKeyValue` found. A missing key or value is empty. */
export let pairKeyAt = 0;
export let pairKeyEnd = 0;
export let pairValueAt = 0;
export let pairValueEnd = 0;

/**
 * Finds key and value in the KeyValue message at [pos, end): the last ones, where there are several.
 *
 * @param depth containers around it
 * @returns false when a value that was replaced by a later one is nested too deeply
 */
export function readKeyValue(source: ByteSink, pos: number, end: number, depth: number): boolean {
  const { bytes } = source;
  let keyAt = pos;
  let keyEnd = pos;
  let valueAt = -1;
  let valueEnd = -1;
  while (pos < end) {
    const tag = readVarint32(bytes, pos, end);
    pos = varintEnd[0];
    if ((tag & 7) !== 2) {
      pos = skipField(bytes, tag, pos, end);
      continue;
    }
    const length = longLength(bytes, pos, end);
    const begin = varintEnd[0];
    pos = begin + length;
    if (tag === 0x0a) {
      keyAt = begin;
      keyEnd = pos;
    } else if (tag === 0x12) {
      if (valueAt >= 0) {
        discarded.length = 0;
        discardedTypes.length = 0;
        if (!appendJson(source, valueAt, valueEnd, depth, discarded, discardedTypes)) return false;
      }
      valueAt = begin;
      valueEnd = pos;
    }
  }
  pairKeyAt = keyAt;
  pairKeyEnd = keyEnd;
  pairValueAt = valueAt;
  pairValueEnd = valueEnd;
  return true;
}

/** The letter after the backslash, by byte; 0: none. */
const SHORT_ESCAPES = new Uint8Array(128);
SHORT_ESCAPES[QUOTE] = QUOTE;
SHORT_ESCAPES[BACKSLASH] = BACKSLASH;
SHORT_ESCAPES[0x08] = 0x62;
SHORT_ESCAPES[0x0c] = 0x66;
SHORT_ESCAPES[0x0a] = 0x6e;
SHORT_ESCAPES[0x0d] = 0x72;
SHORT_ESCAPES[0x09] = 0x74;
const strings = new ByteSink();

/** Appends text as a JSON string, repaired where it is not UTF-8. */
function appendJsonString(source: ByteSink, pos: number, end: number, out: ByteSink): void {
  strings.length = 0;
  strings.appendString(source, pos, end - pos);
  const { bytes } = strings;
  let at = 0;
  while (bytes[at++] > 0x7f);
  out.appendByte(QUOTE);
  for (; at < strings.length; at++) {
    const byte = bytes[at];
    if (byte > 0x1f && byte !== QUOTE && byte !== BACKSLASH) {
      out.appendByte(byte);
      continue;
    }
    out.appendByte(BACKSLASH);
    if (SHORT_ESCAPES[byte] !== 0) out.appendByte(SHORT_ESCAPES[byte]);
    else {
      appendAscii(out, 'u00');
      out.appendByte(HEX[byte >> 4]);
      out.appendByte(HEX[byte & 15]);
    }
  }
  out.appendByte(QUOTE);
}
