import { AppError } from '../errors.js';
import { numberEnd } from './json-number.js';
import { unescapeJson } from './json-text.js';

/**
 * Deepest nesting of objects and arrays. 64 nested AnyValues, the limit for one item, need 256 levels below the 14
 * around an exemplar's attributes, so whatever is a little too deep still costs one item and not the whole body.
 */
const MAX_DEPTH = 512;
const SHOWN_CHARACTERS = 40;

export const QUOTE = 0x22;
const COMMA = 0x2c;
const COLON = 0x3a;
const BACKSLASH = 0x5c;
export const OPEN_BRACKET = 0x5b;
export const CLOSE_BRACKET = 0x5d;
export const OPEN_BRACE = 0x7b;
export const CLOSE_BRACE = 0x7d;
const BYTE_ORDER_MARK = [0xef, 0xbb, 0xbf];

/** Whether a value that starts with this byte is a number. */
export function startsNumber(byte: number): boolean {
  return byte === 0x2d || (byte >= 0x30 && byte <= 0x39);
}

/**
 * Walks over JSON text (RFC 8259) token by token, without making objects or strings of it.
 * Anything that isn't JSON is a MALFORMED_BODY that names the byte.
 */
export class JsonScanner {
  /** Index of the next byte. */
  at = 0;
  /** The string (its escapes resolved) or number read last is `text[start, end)`. Valid until the next one. */
  text: Uint8Array;
  start = 0;
  end = 0;
  private depth = 0;
  private unescaped = new Uint8Array(256);

  constructor(private readonly bytes: Uint8Array) {
    this.text = bytes;
    if (BYTE_ORDER_MARK.every((byte, index) => bytes[index] === byte)) this.at = BYTE_ORDER_MARK.length;
  }

  /** Moves over white space; the byte that follows, 0 at the end of the body. */
  peek(): number {
    const { bytes } = this;
    let at = this.at;
    while (at < bytes.length) {
      const byte = bytes[at];
      if (byte > 0x20 || (byte !== 0x20 && byte !== 0x0a && byte !== 0x0d && byte !== 0x09)) {
        this.at = at;
        return byte;
      }
      at++;
    }
    this.at = at;
    return 0;
  }

  /** Steps into the object or array that `peek` saw. */
  open(): void {
    if (++this.depth > MAX_DEPTH) {
      throw this.malformed(this.at, `objects and arrays are nested more than ${MAX_DEPTH} deep`);
    }
    this.at++;
  }

  /** Moves to the next member of what was opened; false when `closing` came and was stepped over. */
  more(first: boolean, closing: number): boolean {
    const next = this.peek();
    if (next === closing) {
      this.depth--;
      this.at++;
      return false;
    }
    if (first) return true;
    if (next !== COMMA) throw this.unexpected(closing === CLOSE_BRACE ? '"," or "}"' : '"," or "]"');
    this.at++;
    if (this.peek() === closing) throw this.unexpected('a value after ","');
    return true;
  }

  /** Reads an object's key and the colon behind it. */
  key(): void {
    if (this.peek() !== QUOTE) throw this.unexpected('a key in double quotes');
    this.string();
    if (this.peek() !== COLON) throw this.unexpected('":" after a key');
    this.at++;
  }

  /** Reads the string that `peek` saw. */
  string(): void {
    const { bytes } = this;
    const start = this.at + 1;
    let escaped = false;
    for (let at = start; at < bytes.length; at++) {
      const byte = bytes[at];
      if (byte === QUOTE) {
        this.at = at + 1;
        if (escaped) {
          this.unescape(start, at);
        } else {
          this.text = bytes;
          this.start = start;
          this.end = at;
        }
        return;
      }
      if (byte === BACKSLASH) {
        escaped = true;
        at++;
      } else if (byte < 0x20) {
        throw this.malformed(at, 'control characters in a string must be escaped');
      }
    }
    throw this.malformed(start - 1, 'a string is not closed');
  }

  /** Reads the number that `peek` saw. */
  number(): void {
    const end = numberEnd(this.bytes, this.at, this.bytes.length);
    if (end < 0) throw this.malformed(this.at, 'a number is not written as JSON allows');
    this.text = this.bytes;
    this.start = this.at;
    this.end = end;
    this.at = end;
  }

  /** Reads `true`, `false` or `null`. */
  literal(word: string): void {
    for (let index = 0; index < word.length; index++) {
      if (this.bytes[this.at + index] !== word.charCodeAt(index)) throw this.unexpected('a JSON value');
    }
    this.at += word.length;
  }

  /** Reads any value and forgets it. */
  skip(): void {
    const next = this.peek();
    if (next === QUOTE) this.string();
    else if (startsNumber(next)) this.number();
    else if (next === OPEN_BRACE) {
      this.open();
      for (let first = true; this.more(first, CLOSE_BRACE); first = false) {
        this.key();
        this.skip();
      }
    } else if (next === OPEN_BRACKET) {
      this.open();
      for (let first = true; this.more(first, CLOSE_BRACKET); first = false) this.skip();
    } else this.literal(next === 0x74 ? 'true' : next === 0x66 ? 'false' : 'null');
  }

  /** Only white space may follow. */
  finish(): void {
    this.peek();
    if (this.at < this.bytes.length) throw this.unexpected('nothing more');
  }

  /** The value at `from` in words, for a message. Throws when there is no JSON value. */
  describe(from: number): string {
    this.at = from;
    const first = this.peek();
    if (first === OPEN_BRACE) return 'an object';
    if (first === OPEN_BRACKET) return 'an array';
    const start = this.at;
    this.skip();
    const text = Buffer.from(this.bytes.subarray(start, this.at)).toString();
    return text.length > SHOWN_CHARACTERS ? `${text.slice(0, SHOWN_CHARACTERS)}...` : text;
  }

  private unescape(start: number, end: number): void {
    if (this.unescaped.length < end - start) this.unescaped = new Uint8Array((end - start) * 2);
    const length = unescapeJson(this.bytes, start, end, this.unescaped);
    if (length < 0) throw this.malformed(-length, 'a string has an escape that JSON does not know');
    this.text = this.unescaped;
    this.start = 0;
    this.end = length;
  }

  private unexpected(expected: string): AppError {
    const byte = this.bytes[this.at];
    if (this.at >= this.bytes.length)
      return this.malformed(this.at, `expected ${expected}, but the body ends`);
    const shown = byte > 0x20 && byte < 0x7f ? String.fromCharCode(byte) : `byte 0x${byte.toString(16)}`;
    return this.malformed(this.at, `expected ${expected}, got ${shown}`);
  }

  private malformed(at: number, problem: string): AppError {
    return new AppError('MALFORMED_BODY', `invalid JSON at byte ${at}: ${problem}`);
  }
}
