/**
 * Engine text -> JSON values that lose nothing. The statements hand 64-bit numbers and doubles over as text, because
 * JSON numbers keep neither integers beyond 2^53 nor NaN, infinities and negative zero.
 */

const NO_ID = /^0*$/;

/** A 64-bit integer: a JSON number while that is exact, else its decimal digits. */
export function exactInt(digits: string): number | string {
  const number = Number(digits);
  return Number.isSafeInteger(number) ? number : digits;
}

/** A double: a JSON number, or "NaN", "Infinity", "-Infinity", "-0", which JSON numbers cannot say. */
export function exactDouble(text: string): number | string {
  const number = toNumber(text);
  return Number.isFinite(number) && !Object.is(number, -0)
    ? number
    : Object.is(number, -0)
      ? '-0'
      : String(number);
}

/** `exactDouble` that keeps "there was none" (SQL NULL). */
export function exactDoubleOrNull(text: string | null): number | string | null {
  return text === null ? null : exactDouble(text);
}

function toNumber(text: string): number {
  switch (text) {
    case 'inf':
    case '+inf':
      return Number.POSITIVE_INFINITY;
    case '-inf':
      return Number.NEGATIVE_INFINITY;
    case 'nan':
    case '-nan':
      return Number.NaN;
    default:
      return Number(text);
  }
}

/**
 * ISO 8601 with all nine digits of the nanoseconds.
 *
 * @param unixNano decimal nanoseconds since 1970, 0 to 2^64-1 (the year 2554)
 */
export function nanosToIso(unixNano: string): string {
  const padded = unixNano.padStart(10, '0');
  const seconds = Number(padded.slice(0, -9));
  return `${new Date(seconds * 1000).toISOString().slice(0, 19)}.${padded.slice(-9)}Z`;
}

/** Lower-case hex of an id; '' for the all-zero id, which OTLP defines as "none". */
export function hexId(hex: string): string {
  return NO_ID.test(hex) ? '' : hex.toLowerCase();
}

/**
 * Attributes as the tables keep them (text values beside a type signature, migrations/clickhouse/001_telemetry.sql)
 * -> JSON values of their natural type. Signature letters: s string, b bool, i 64-bit integer, d double, y bytes
 * (base64), n empty, `[..]` array, `{..}` key-value list.
 */

export type Json = string | number | boolean | null | Json[] | { [key: string]: Json };

export interface Attributes {
  /** Natural types; integers beyond 2^53, NaN, infinities and -0 are strings, bytes are base64. */
  attributes: Record<string, Json>;
  /** The type signature of each value, so that nothing in `attributes` is ambiguous. */
  attribute_types: Record<string, string>;
}

/**
 * Keys and values come as two lists and not as an object: JSON.parse sorts integer-like keys to the front, which would
 * part them from the signature. Of a repeated key the first value counts, as in the engine's `attributes[key]`.
 *
 * @param signature one entry per key, in the same order
 */
export function decodeAttributes(keys: string[], values: string[], signature: string): Attributes {
  const attributes: Record<string, Json> = Object.create(null);
  const types: Record<string, string> = Object.create(null);
  let at = 0;
  for (let i = 0; i < keys.length; i++) {
    const end = endOfType(signature, at);
    // Rows written without a signature (by hand, by older versions) read as plain strings.
    const type = end > at ? signature.slice(at, end) : 's';
    at = end;
    if (keys[i] in attributes) continue;
    attributes[keys[i]] = decodeValue(values[i], type);
    types[keys[i]] = type;
  }
  return { attributes, attribute_types: types };
}

/** One value of a known type: an attribute's or a log body's. */
export function decodeValue(text: string, type: string): Json {
  switch (type[0]) {
    case 'i':
      return exactInt(text);
    case 'd':
      return exactDouble(text);
    case 'b':
      return text === 'true';
    case 'n':
      return null;
    case '[':
    case '{':
      return decodeNested(text, type);
    default:
      return text;
  }
}

/** A text that does not fit its signature is shown as it stands: one damaged value must not hide a page of rows. */
function decodeNested(text: string, type: string): Json {
  try {
    return new NestedReader(text, type).read();
  } catch {
    return text;
  }
}

/** Where the type that starts at `start` ends (exclusive). */
function endOfType(signature: string, start: number): number {
  if (start >= signature.length) return start;
  let depth = 0;
  for (let at = start; at < signature.length; at++) {
    const letter = signature[at];
    if (letter === '[' || letter === '{') depth++;
    else if (letter === ']' || letter === '}') depth--;
    if (depth === 0) return at + 1;
  }
  return signature.length;
}

/**
 * Reads JSON text along its signature. JSON.parse would round long integers before anyone could see their digits.
 * Depth is bounded by ingest (64).
 */
class NestedReader {
  private at = 0;
  private typeAt = 0;

  constructor(
    private readonly text: string,
    private readonly type: string,
  ) {}

  read(): Json {
    const letter = this.type[this.typeAt++];
    if (letter === '[') return this.readArray();
    if (letter === '{') return this.readList();
    const token = this.readScalar();
    return token === null ? null : decodeValue(token, letter ?? 's');
  }

  private readArray(): Json[] {
    const items: Json[] = [];
    this.expect('[');
    while (this.peek() !== ']') {
      if (items.length > 0) this.expect(',');
      items.push(this.read());
    }
    this.at++;
    this.typeAt++;
    return items;
  }

  private readList(): Json {
    const list: Record<string, Json> = Object.create(null);
    this.expect('{');
    for (let first = true; this.peek() !== '}'; first = false) {
      if (!first) this.expect(',');
      const key = this.readScalar() ?? '';
      this.expect(':');
      const value = this.read();
      if (!(key in list)) list[key] = value;
    }
    this.at++;
    this.typeAt++;
    return list;
  }

  /** The characters of a string, or the token of a number or literal as it stands; null for `null`. */
  private readScalar(): string | null {
    const quoted = this.peek() === '"';
    const start = this.at;
    if (!quoted) {
      while (this.at < this.text.length && !',]}:'.includes(this.text[this.at])) this.at++;
      const token = this.text.slice(start, this.at).trim();
      return token === 'null' ? null : token;
    }
    this.at++;
    while (this.at < this.text.length && this.text[this.at] !== '"')
      this.at += this.text[this.at] === '\\' ? 2 : 1;
    this.at++;
    return JSON.parse(this.text.slice(start, this.at)) as string;
  }

  private peek(): string {
    while (' \n\r\t'.includes(this.text[this.at]) && this.at < this.text.length) this.at++;
    if (this.at >= this.text.length) throw new Error(`Nested value ends early: ${this.text.slice(0, 100)}`);
    return this.text[this.at];
  }

  private expect(character: string): void {
    if (this.peek() !== character) {
      throw new Error(`Nested value: expected ${character} at ${this.at}: ${this.text.slice(0, 100)}`);
    }
    this.at++;
  }
}
