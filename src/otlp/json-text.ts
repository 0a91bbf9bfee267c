/** What is inside JSON strings: escapes, hex ids and base64. */

const BACKSLASH = 0x5c;
const LOWER_U = 0x75;
const INVALID = 0xff;
const REPLACEMENT_CHARACTER = 0xfffd;

const ESCAPES = new Uint8Array(256);
for (const [letter, byte] of Object.entries({
  b: 8,
  t: 9,
  n: 10,
  f: 12,
  r: 13,
  '"': 34,
  '/': 47,
  '\\': 92,
})) {
  ESCAPES[letter.charCodeAt(0)] = byte;
}

function valuesOf(...alphabets: string[]): Uint8Array {
  const values = new Uint8Array(256).fill(INVALID);
  for (const alphabet of alphabets) {
    for (let value = 0; value < alphabet.length; value++) values[alphabet.charCodeAt(value)] = value;
  }
  return values;
}
const HEX = valuesOf('0123456789abcdef', '0123456789ABCDEF');
const LETTERS_AND_DIGITS = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789';
const BASE64 = valuesOf(`${LETTERS_AND_DIGITS}+/`, `${LETTERS_AND_DIGITS}-_`);

/** The UTF-16 unit of four hex digits at `at`, or -1. */
function utf16Unit(source: Uint8Array, at: number, end: number): number {
  if (at + 4 > end) return -1;
  let unit = 0;
  for (let index = at; index < at + 4; index++) {
    if (HEX[source[index]] === INVALID) return -1;
    unit = unit * 16 + HEX[source[index]];
  }
  return unit;
}

function writeUtf8(codePoint: number, target: Uint8Array, at: number): number {
  let length = at;
  if (codePoint < 0x80) {
    target[length++] = codePoint;
    return length;
  }
  if (codePoint < 0x800) {
    target[length++] = 0xc0 | (codePoint >> 6);
  } else {
    if (codePoint < 0x10000) {
      target[length++] = 0xe0 | (codePoint >> 12);
    } else {
      target[length++] = 0xf0 | (codePoint >> 18);
      target[length++] = 0x80 | ((codePoint >> 12) & 0x3f);
    }
    target[length++] = 0x80 | ((codePoint >> 6) & 0x3f);
  }
  target[length++] = 0x80 | (codePoint & 0x3f);
  return length;
}

/**
 * Writes the text of the JSON string content `source[start, end)` as UTF-8 into `target`, which must be as long.
 * A lone surrogate becomes U+FFFD.
 *
 * @returns the length written, or minus the index of a bad escape
 */
export function unescapeJson(source: Uint8Array, start: number, end: number, target: Uint8Array): number {
  let length = 0;
  for (let at = start; at < end; ) {
    const byte = source[at];
    if (byte !== BACKSLASH) {
      target[length++] = byte;
      at++;
    } else if (source[at + 1] !== LOWER_U) {
      const escaped = ESCAPES[source[at + 1]];
      if (escaped === 0) return -at;
      target[length++] = escaped;
      at += 2;
    } else {
      const unit = utf16Unit(source, at + 2, end);
      if (unit < 0) return -at;
      const pair =
        unit >= 0xd800 && unit < 0xdc00 && source[at + 6] === BACKSLASH && source[at + 7] === LOWER_U;
      const second = pair ? utf16Unit(source, at + 8, end) : -1;
      if (second >= 0xdc00 && second < 0xe000) {
        length = writeUtf8(0x10000 + ((unit - 0xd800) << 10) + (second - 0xdc00), target, length);
        at += 12;
      } else {
        const lone = unit >= 0xd800 && unit < 0xe000;
        length = writeUtf8(lone ? REPLACEMENT_CHARACTER : unit, target, length);
        at += 6;
      }
    }
  }
  return length;
}

/** Decodes hex digits of either case into `target`; returns the number of bytes, -1 when it isn't hex. */
export function decodeHex(source: Uint8Array, start: number, end: number, target: Uint8Array): number {
  if ((end - start) % 2 !== 0) return -1;
  let length = 0;
  for (let at = start; at < end; at += 2) {
    const upper = HEX[source[at]];
    const lower = HEX[source[at + 1]];
    if (upper === INVALID || lower === INVALID) return -1;
    target[length++] = upper * 16 + lower;
  }
  return length;
}

/** Decodes base64 or base64url, padded or not, into `target`; returns the number of bytes, -1 when it is neither. */
export function decodeBase64(source: Uint8Array, start: number, end: number, target: Uint8Array): number {
  let last = end;
  while (last > start && end - last < 2 && source[last - 1] === 0x3d) last--;
  if ((last - start) % 4 === 1 || (last < end && (end - start) % 4 !== 0)) return -1;
  let length = 0;
  let bits = 0;
  let bitCount = 0;
  for (let at = start; at < last; at++) {
    const value = BASE64[source[at]];
    if (value === INVALID) return -1;
    bits = ((bits << 6) | value) & 0xffff;
    bitCount += 6;
    if (bitCount < 8) continue;
    bitCount -= 8;
    target[length++] = (bits >>> bitCount) & 0xff;
  }
  return length;
}
