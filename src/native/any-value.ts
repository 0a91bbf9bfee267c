import {
  ARRAY_FIELD,
  appendContainer,
  appendNumber,
  BOOL,
  BYTES,
  BYTES_FIELD,
  DOUBLE,
  EMPTY,
  findMember,
  INT,
  LIST_FIELD,
  memberAt,
  memberEnd,
  memberField,
  STRING,
  STRING_FIELD,
} from './any-value-json.js';
import { ByteSink } from './byte-sink.js';
import { appendBase64, appendDouble, appendWhole, base64Size } from './number-text.js';

/**
 * AnyValue as text and type signature. The text is what is searched; text and signature together give the value back
 * exactly. Signature: s string, b bool, i 64-bit integer, d double, y bytes (base64), n empty, [..] array, {..}
 * key-value list; the text of the last two is JSON, the signature holds their members' types in order.
 */

const json = new ByteSink();

/**
 * Appends the AnyValue message at [pos, end) to `text` as one ClickHouse String, and its signature to `types`.
 *
 * @returns false when it is nested too deeply; then `text` is as it was and `types` may hold leftovers
 */
export function appendAnyValue(
  source: ByteSink,
  pos: number,
  end: number,
  text: ByteSink,
  types: ByteSink,
): boolean {
  // The short forms that every SDK writes: one member, nothing else.
  const { bytes } = source;
  const size = end - pos;
  if (size > 1) {
    const tag = bytes[pos];
    const first = bytes[pos + 1];
    if (tag === 0x0a && first === size - 2 && first < 0x80) {
      types.appendByte(STRING);
      text.appendString(source, pos + 2, first);
      return true;
    }
    if (tag === 0x18 && size < 6 && (size === 2 || bytes[end - 2] > 0x7f) && bytes[end - 1] < 0x80) {
      if (appendShortInt(bytes, pos + 1, end, text)) {
        types.appendByte(INT);
        return true;
      }
    } else if (tag === 0x21 && size === 9) {
      types.appendByte(DOUBLE);
      const at = text.length;
      text.appendByte(0);
      appendDouble(text, source.view.getFloat64(pos + 1, true));
      text.bytes[at] = text.length - at - 1;
      return true;
    } else if (tag === 0x10 && size === 2 && first < 2) {
      types.appendByte(BOOL);
      text.appendBytes(first === 1 ? TRUE : FALSE, 0, 6 - first);
      return true;
    }
  }
  if (!findMember(source, pos, end, 0)) return false;
  const field = memberField;
  if (field !== ARRAY_FIELD && field !== LIST_FIELD) {
    appendScalar(source, field, memberAt, memberEnd, text, types);
    return true;
  }
  json.length = 0;
  if (!appendContainer(source, field, memberAt, memberEnd, 1, json, types)) return false;
  text.appendVarint(json.length);
  text.appendBytes(json, 0, json.length);
  return true;
}

const TRUE = new ByteSink();
TRUE.wrap(Buffer.from('\x04true'));
const FALSE = new ByteSink();
FALSE.wrap(Buffer.from('\x05false'));

/**
 * Appends the varint at [pos, end), at most four bytes, as a ClickHouse String.
 *
 * @returns false, with nothing appended, when there is more than one varint
 */
function appendShortInt(bytes: Uint8Array, pos: number, end: number, text: ByteSink): boolean {
  let value = 0;
  for (let shift = 0; pos < end; pos++, shift += 7) {
    value |= (bytes[pos] & 0x7f) << shift;
    if (bytes[pos] < 0x80 && pos + 1 < end) return false;
  }
  const at = text.length;
  text.appendByte(0);
  appendWhole(text, value);
  text.bytes[at] = text.length - at - 1;
  return true;
}

/** Appends a member that is not a container, as a ClickHouse String. */
function appendScalar(
  source: ByteSink,
  field: number,
  pos: number,
  end: number,
  text: ByteSink,
  types: ByteSink,
): void {
  switch (field) {
    case STRING_FIELD:
      types.appendByte(STRING);
      text.appendString(source, pos, end - pos);
      return;
    case BYTES_FIELD:
      types.appendByte(BYTES);
      text.appendVarint(base64Size(end - pos));
      appendBase64(text, source, pos, end);
      return;
    case 0:
      types.appendByte(EMPTY);
      text.appendByte(0);
      return;
  }
  // Text of at most 25 characters: its length is one byte and is put in afterwards.
  const at = text.length;
  text.appendByte(0);
  types.appendByte(appendNumber(source, field, pos, end, text));
  text.bytes[at] = text.length - at - 1;
}
