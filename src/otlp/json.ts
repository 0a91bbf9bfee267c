import { AppError } from '../errors.js';
import type { Signal } from '../signal.js';
import { type Field, type MessageType, REQUESTS } from './json-fields.js';
import { IntegerReader, numberEnd, readDouble } from './json-number.js';
import {
  CLOSE_BRACE,
  CLOSE_BRACKET,
  JsonScanner,
  OPEN_BRACE,
  OPEN_BRACKET,
  QUOTE,
  startsNumber,
} from './json-scanner.js';
import { decodeBase64, decodeHex } from './json-text.js';
import { ProtobufWriter } from './json-writer.js';

const EXPECTED = {
  message: 'an object',
  string: 'a string',
  bytes: 'a string in base64',
  id: 'a string of hex digits',
  bool: 'true or false',
  enum: 'a 32-bit integer (OTLP/JSON takes the numbers of enums, not their names)',
  uint32: 'an unsigned 32-bit integer',
  fixed32: 'an unsigned 32-bit integer',
  sint32: 'a signed 32-bit integer',
  int64: 'a signed 64-bit integer',
  sfixed64: 'a signed 64-bit integer',
  uint64: 'an unsigned 64-bit integer',
  fixed64: 'an unsigned 64-bit integer',
  double: 'a number, or "NaN", "Infinity" or "-Infinity"',
} as const;
const SPECIAL_DOUBLES = new Map([
  ['NaN', Number.NaN],
  ['Infinity', Number.POSITIVE_INFINITY],
  ['-Infinity', Number.NEGATIVE_INFINITY],
]);
/** An id of one byte: what cannot be decoded as hex becomes it, so that the check rejects the item and not the body. */
const INVALID_ID = new Uint8Array(1);

/**
 * Turns an OTLP/JSON request into the same request in protobuf, in one pass and without objects in between. Measured
 * on one core: 170 MB/s of histograms, 200 MB/s of spans, where JSON.parse alone did 130 to 175 MB/s and rounds
 * 64-bit integers.
 *
 * By the OTLP specification: keys in lowerCamelCase, unknown fields ignored, ids in hex of either case, enums as
 * numbers, 64-bit integers as text or number, `null` for absent. A key that comes twice is a field that comes twice
 * in protobuf: the last value counts, lists are joined. Ids that aren't hex or have another length are handed on as
 * ids of a wrong length. Strings are handed on byte by byte, even those that aren't UTF-8.
 *
 * @returns a view of an array that nothing else uses
 * @throws AppError MALFORMED_BODY with the byte (not JSON) or the path (a value of the wrong type or range)
 */
export function jsonToProtobuf(signal: Signal, body: Uint8Array): Uint8Array {
  return new Converter(body).convert(REQUESTS[signal]);
}

class Converter {
  private readonly json: JsonScanner;
  private readonly out: ProtobufWriter;
  private readonly integer = new IntegerReader();
  private decoded = new Uint8Array(64);
  /** Where we are: the field of each open message, and the index in it when it is repeated, else -1. */
  private readonly fields: Field[] = [];
  private readonly indexes: number[] = [];
  private depth = 0;

  constructor(body: Uint8Array) {
    this.json = new JsonScanner(body);
    this.out = new ProtobufWriter(body.length);
  }

  convert(request: MessageType): Uint8Array {
    if (this.json.peek() !== OPEN_BRACE) throw this.wrong('an object', this.json.at);
    this.message(request);
    this.json.finish();
    return this.out.finish();
  }

  private message(type: MessageType): void {
    const { json, depth } = this;
    json.open();
    for (let first = true; json.more(first, CLOSE_BRACE); first = false) {
      json.key();
      const field = type.find(json.text, json.start, json.end);
      if (!field) {
        json.skip();
        continue;
      }
      this.fields[depth] = field;
      this.indexes[depth] = -1;
      this.depth = depth + 1;
      if (json.peek() === 0x6e) json.literal('null');
      else if (!field.repeated) this.single(field);
      else if (field.packed) this.packed(field);
      else this.list(field);
    }
    this.depth = depth;
  }

  private single(field: Field): void {
    this.out.varint32(field.tag);
    this.value(field);
  }

  private list(field: Field): void {
    const { json, depth } = this;
    if (json.peek() !== OPEN_BRACKET) throw this.wrong('an array', json.at);
    json.open();
    for (let first = true; json.more(first, CLOSE_BRACKET); first = false) {
      this.indexes[depth - 1]++;
      this.single(field);
    }
  }

  private packed(field: Field): void {
    const { json, depth, out } = this;
    if (json.peek() !== OPEN_BRACKET) throw this.wrong('an array', json.at);
    json.open();
    out.varint32(field.tag);
    const start = out.open();
    for (let first = true; json.more(first, CLOSE_BRACKET); first = false) {
      this.indexes[depth - 1]++;
      this.value(field);
    }
    out.close(start);
  }

  private value(field: Field): void {
    switch (field.type) {
      case 'message':
        this.nested(field);
        break;
      case 'string':
        this.readString(field);
        this.out.lengthAndBytes(this.json.text, this.json.start, this.json.end);
        break;
      case 'id':
        this.id(field);
        break;
      case 'bytes':
        this.base64(field);
        break;
      case 'bool':
        this.bool(field);
        break;
      case 'double':
        this.double(field);
        break;
      default:
        this.integral(field);
    }
  }

  private nested(field: Field): void {
    if (this.json.peek() !== OPEN_BRACE) throw this.wrong(EXPECTED.message, this.json.at);
    const start = this.out.open();
    this.message(field.message!);
    this.out.close(start);
  }

  private readString(field: Field): void {
    if (this.json.peek() !== QUOTE) throw this.wrong(EXPECTED[field.type], this.json.at);
    this.json.string();
  }

  private id(field: Field): void {
    this.readString(field);
    const length = this.decode(decodeHex);
    if (length < 0) this.out.lengthAndBytes(INVALID_ID, 0, INVALID_ID.length);
    else this.out.lengthAndBytes(this.decoded, 0, length);
  }

  private base64(field: Field): void {
    const from = this.json.at;
    this.readString(field);
    const length = this.decode(decodeBase64);
    if (length < 0) throw this.wrong(EXPECTED.bytes, from);
    this.out.lengthAndBytes(this.decoded, 0, length);
  }

  private decode(decoder: typeof decodeHex): number {
    const { text, start, end } = this.json;
    if (this.decoded.length < end - start) this.decoded = new Uint8Array((end - start) * 2);
    return decoder(text, start, end, this.decoded);
  }

  private bool(field: Field): void {
    const next = this.json.peek();
    if (next !== 0x74 && next !== 0x66) throw this.wrong(EXPECTED[field.type], this.json.at);
    this.json.literal(next === 0x74 ? 'true' : 'false');
    this.out.byte(next === 0x74 ? 1 : 0);
  }

  /** Reads a number, or a string that holds one; false when the string holds something else. */
  private readNumber(field: Field, inString: boolean): boolean {
    const { json } = this;
    const next = json.peek();
    if (startsNumber(next)) {
      json.number();
      return true;
    }
    if (next !== QUOTE || !inString) throw this.wrong(EXPECTED[field.type], json.at);
    json.string();
    return numberEnd(json.text, json.start, json.end) === json.end;
  }

  private double(field: Field): void {
    const { json } = this;
    json.peek();
    const from = json.at;
    const isNumber = this.readNumber(field, true);
    const { text, start, end } = json;
    const value = isNumber
      ? readDouble(text, start, end)
      : SPECIAL_DOUBLES.get(Buffer.from(text.subarray(start, end)).toString());
    if (value === undefined || (isNumber && !Number.isFinite(value))) throw this.wrong(EXPECTED.double, from);
    this.out.double(value);
  }

  private integral(field: Field): void {
    const { json, integer } = this;
    json.peek();
    const from = json.at;
    const whole =
      this.readNumber(field, field.type !== 'enum') && integer.read(json.text, json.start, json.end);
    if (!whole || !this.writeInteger(field)) throw this.wrong(EXPECTED[field.type], from);
  }

  /** Writes the integer that was read; false when it is out of the type's range. */
  private writeInteger(field: Field): boolean {
    const { integer, out } = this;
    const unsigned = !integer.negative || integer.isZero();
    switch (field.type) {
      case 'fixed64':
        if (unsigned) out.fixed64(integer.low, integer.high);
        return unsigned;
      case 'uint64':
        if (unsigned) out.varint64(integer.low, integer.high);
        return unsigned;
      case 'uint32':
      case 'fixed32':
        if (!unsigned || integer.high !== 0) return false;
        if (field.type === 'fixed32') out.fixed32(integer.low);
        else out.varint32(integer.low);
        return true;
      case 'sint32':
        if (!integer.fitsSigned(32)) return false;
        out.varint32((integer.negative ? integer.low * 2 - 1 : integer.low * 2) >>> 0);
        return true;
      default:
        if (!integer.fitsSigned(field.type === 'enum' ? 32 : 64)) return false;
        integer.toTwosComplement();
        if (field.type === 'sfixed64') out.fixed64(integer.low, integer.high);
        else out.varint64(integer.low, integer.high);
        return true;
    }
  }

  /** A value that is JSON but not what OTLP has at this place; it starts at byte `from`. */
  private wrong(expected: string, from: number): AppError {
    const got = this.json.describe(from);
    let path = '';
    for (let level = 0; level < this.depth; level++) {
      path += `${level > 0 ? '.' : ''}${this.fields[level].name}`;
      if (this.indexes[level] >= 0) path += `[${this.indexes[level]}]`;
    }
    return new AppError('MALFORMED_BODY', `${path || 'the body'}: expected ${expected}, got ${got}`);
  }
}
