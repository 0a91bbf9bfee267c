const TWO_32 = 2 ** 32;
const POWERS_OF_TEN = Array.from({ length: 23 }, (_, exponent) => Number(`1e${exponent}`));
/** Digits taken at once: 2^32 * 10^6 stays exact in a double. */
const DIGITS_AT_ONCE = 6;
/** 2^64 has 20 digits. */
const MAX_DIGITS = 20;
const MINUS = 0x2d;
const PLUS = 0x2b;
const DOT = 0x2e;
const ZERO = 0x30;

const isDigit = (byte: number) => byte >= 0x30 && byte <= 0x39;

function digitsEnd(text: Uint8Array, from: number, limit: number): number {
  let at = from;
  while (at < limit && isDigit(text[at])) at++;
  return at;
}

/** Index behind the JSON number that starts at `from`; -1 when there is none by JSON's grammar. */
export function numberEnd(text: Uint8Array, from: number, limit: number): number {
  let at = from < limit && text[from] === MINUS ? from + 1 : from;
  if (at >= limit || !isDigit(text[at])) return -1;
  at = text[at] === ZERO ? at + 1 : digitsEnd(text, at, limit);
  if (at < limit && text[at] === DOT) {
    const end = digitsEnd(text, at + 1, limit);
    if (end === at + 1) return -1;
    at = end;
  }
  if (at < limit && (text[at] | 0x20) === 0x65) {
    const sign = at + 1 < limit && (text[at + 1] === MINUS || text[at + 1] === PLUS) ? 1 : 0;
    const end = digitsEnd(text, at + 1 + sign, limit);
    if (end === at + 1 + sign) return -1;
    at = end;
  }
  return at;
}

function ascii(text: Uint8Array, start: number, end: number): string {
  return Buffer.from(text.buffer, text.byteOffset + start, end - start).toString('latin1');
}

/** The value of the JSON number `text[start, end)`; infinite where a double cannot hold it. */
export function readDouble(text: Uint8Array, start: number, end: number): number {
  const negative = text[start] === MINUS;
  // Up to 15 digits are exact in a double, as is the power of ten, so one division rounds correctly.
  if (end - start <= 16) {
    let mantissa = 0;
    let decimals = -1;
    for (let at = negative ? start + 1 : start; at < end; at++) {
      const byte = text[at];
      if (isDigit(byte)) mantissa = mantissa * 10 + (byte - ZERO);
      else if (byte === DOT) decimals = end - at - 1;
      else return Number(ascii(text, start, end));
    }
    if (mantissa <= Number.MAX_SAFE_INTEGER) {
      const value = decimals > 0 ? mantissa / POWERS_OF_TEN[decimals] : mantissa;
      return negative ? -value : value;
    }
  }
  return Number(ascii(text, start, end));
}

/** Reads integers without the rounding that a double does beyond 2^53. */
export class IntegerReader {
  negative = false;
  /** The lower and upper 32 bits of the magnitude. */
  low = 0;
  high = 0;

  /** Whether the JSON number `text[start, end)` is whole and below 2^64 without its sign; then it is in the fields. */
  read(text: Uint8Array, start: number, end: number): boolean {
    this.negative = text[start] === MINUS;
    const from = this.negative ? start + 1 : start;
    if (digitsEnd(text, from, end) === end) return this.readDigits(text, from, end);
    const digits = wholeDigits(ascii(text, from, end));
    return digits !== undefined && this.readDigits(Buffer.from(digits), 0, digits.length);
  }

  private readDigits(text: Uint8Array, start: number, end: number): boolean {
    if (end - start > MAX_DIGITS) return false;
    this.low = 0;
    this.high = 0;
    for (let at = start; at < end; ) {
      const groupEnd = Math.min(at + DIGITS_AT_ONCE, end);
      const scale = POWERS_OF_TEN[groupEnd - at];
      let group = 0;
      for (; at < groupEnd; at++) group = group * 10 + (text[at] - ZERO);
      const lower = this.low * scale + group;
      const carry = Math.floor(lower / TWO_32);
      this.low = lower - carry * TWO_32;
      this.high = this.high * scale + carry;
    }
    return this.high < TWO_32;
  }

  isZero(): boolean {
    return this.low === 0 && this.high === 0;
  }

  /** Whether the value is in the range of a signed integer of `bits` (32 or 64). */
  fitsSigned(bits: 32 | 64): boolean {
    const top = bits === 64 ? this.high : this.low;
    const rest = bits === 64 ? this.low : 0;
    if (bits === 32 && this.high !== 0) return false;
    return top < 2 ** 31 || (this.negative && top === 2 ** 31 && rest === 0);
  }

  /** Turns sign and magnitude into two's complement, 64 bits wide. */
  toTwosComplement(): void {
    if (!this.negative) return;
    this.high = (~this.high + (this.low === 0 ? 1 : 0)) >>> 0;
    this.low = -this.low >>> 0;
  }
}

/** Digits of a whole number written with a point or an exponent (`1.0`, `15e2`); undefined when it isn't whole or too long. */
function wholeDigits(text: string): string | undefined {
  const [, whole, fraction = '', power = '0'] = /^(\d+)(?:\.(\d+))?(?:[eE]([+-]?\d+))?$/.exec(text)!;
  const significant = `${whole}${fraction}`.replace(/^0+/, '').replace(/0+$/, '');
  if (significant === '') return '0';
  const trailing = `${whole}${fraction}`.length - `${whole}${fraction}`.replace(/0+$/, '').length;
  const zeros = trailing - fraction.length + Number(power);
  if (zeros < 0 || significant.length + zeros > MAX_DIGITS) return undefined;
  return significant + '0'.repeat(zeros);
}
