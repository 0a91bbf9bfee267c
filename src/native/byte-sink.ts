import { isUtf8Text } from '../otlp/wire.js';

/** Room behind `length` that may be overwritten by whole-word copies. */
const SLACK = 16;
/** Memory above this is given back when a batch used less than a quarter of it. */
const KEPT_BYTES = 4 * 1024 * 1024;
/** From here on `set` (memmove) beats the word loop; measured with bench/transcoder.ts. */
const LONG_COPY = 192;

/**
 * A growing run of bytes; also how a body is handed around, so that everything that reads bytes meets one shape.
 * `bytes` and `view` are replaced when it grows: fetch them again after `reserve`.
 */
export class ByteSink {
  bytes: Uint8Array;
  view: DataView;
  length = 0;

  /** @param capacity bytes before it grows for the first time */
  constructor(capacity = 1024) {
    this.bytes = new Uint8Array(capacity);
    this.view = new DataView(this.bytes.buffer);
  }

  /** Makes it a reader of `bytes`, without a copy. */
  wrap(bytes: Uint8Array): void {
    // A plain Uint8Array over the same memory: a Buffer would be a second kind of array and slow every access.
    this.bytes = new Uint8Array(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    this.view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    this.length = bytes.byteLength;
  }

  /** Makes room for `extra` bytes behind `length`. */
  reserve(extra: number): void {
    if (this.length + extra + SLACK > this.bytes.length) this.grow(this.length + extra + SLACK);
  }

  private grow(needed: number): void {
    const bytes = new Uint8Array(Math.max(needed, this.bytes.length * 2));
    bytes.set(this.bytes.subarray(0, this.length));
    this.bytes = bytes;
    this.view = new DataView(bytes.buffer);
  }

  /** Empties it for the next batch. Memory is kept, unless it is much more than this batch needed. */
  recycle(): void {
    if (this.bytes.length > KEPT_BYTES && this.length < this.bytes.length / 4) {
      this.bytes = new Uint8Array(KEPT_BYTES);
      this.view = new DataView(this.bytes.buffer);
    }
    this.length = 0;
  }

  written(): Uint8Array {
    return this.bytes.subarray(0, this.length);
  }

  /** Appends `count` zero bytes. */
  appendZeros(count: number): void {
    this.reserve(count);
    this.bytes.fill(0, this.length, this.length + count);
    this.length += count;
  }

  appendByte(byte: number): void {
    this.reserve(1);
    this.bytes[this.length++] = byte;
  }

  /** Appends bytes [pos, pos + length) of `source` as they are. */
  appendBytes(source: ByteSink, pos: number, length: number): void {
    this.reserve(length);
    if (length < LONG_COPY) this.copyWords(source, pos, length);
    else this.bytes.set(source.bytes.subarray(pos, pos + length), this.length);
    this.length += length;
  }

  /** Appends a varint of up to 31 bits. */
  appendVarint(value: number): void {
    this.reserve(5);
    while (value > 0x7f) {
      this.bytes[this.length++] = (value & 0x7f) | 0x80;
      value >>>= 7;
    }
    this.bytes[this.length++] = value;
  }

  /**
   * Appends [pos, pos + length) of `source` as ClickHouse's String: length, bytes. Bytes that are not UTF-8 become
   * U+FFFD.
   */
  appendString(source: ByteSink, pos: number, length: number): void {
    if (length > 0x7f) {
      this.appendLongString(source, pos, length);
      return;
    }
    this.reserve(length + 1);
    this.bytes[this.length++] = length;
    const high = this.copyWords(source, pos, length);
    if (high !== 0 && !isUtf8Text(source.bytes, pos, pos + length)) {
      this.length--;
      this.appendRepaired(source, pos, length);
    } else this.length += length;
  }

  private appendLongString(source: ByteSink, pos: number, length: number): void {
    this.appendVarint(length);
    this.reserve(length);
    if (length < LONG_COPY) {
      const high = this.copyWords(source, pos, length);
      if (high === 0 || isUtf8Text(source.bytes, pos, pos + length)) {
        this.length += length;
        return;
      }
    } else if (isUtf8Text(source.bytes, pos, pos + length)) {
      this.bytes.set(source.bytes.subarray(pos, pos + length), this.length);
      this.length += length;
      return;
    }
    this.length -= varintSize(length);
    this.appendRepaired(source, pos, length);
  }

  private appendRepaired(source: ByteSink, pos: number, length: number): void {
    const repaired = repairUtf8(source.bytes.subarray(pos, pos + length));
    this.appendVarint(repaired.length);
    this.reserve(repaired.length);
    this.bytes.set(repaired, this.length);
    this.length += repaired.length;
  }

  /**
   * Copies to behind `length` without moving it; room must have been reserved. Four bytes at a time: for the 5 to 60
   * bytes of a usual string that is two to three times faster than `set`.
   *
   * @returns not 0 when a byte has its high bit set
   */
  private copyWords(source: ByteSink, pos: number, length: number): number {
    const from = source.view;
    const to = this.view;
    const shift = this.length - pos;
    const end = pos + length;
    const words = end - 3;
    let high = 0;
    for (; pos < words; pos += 4) {
      const word = from.getInt32(pos, true);
      high |= word;
      to.setInt32(pos + shift, word, true);
    }
    for (; pos < end; pos++) {
      const byte = from.getInt8(pos);
      high |= byte;
      to.setInt8(pos + shift, byte);
    }
    return high & 0x80808080;
  }

  /** Whether the bytes [at, at + length) are the same as [pos, pos + length) of `source`. */
  equals(at: number, source: ByteSink, pos: number, length: number): boolean {
    const ours = this.view;
    const theirs = source.view;
    const shift = at - pos;
    const end = pos + length;
    const words = end - 3;
    for (; pos < words; pos += 4) {
      if (theirs.getInt32(pos, true) !== ours.getInt32(pos + shift, true)) return false;
    }
    for (; pos < end; pos++) if (theirs.getInt8(pos) !== ours.getInt8(pos + shift)) return false;
    return true;
  }
}

function varintSize(value: number): number {
  let size = 1;
  for (; value > 0x7f; value >>>= 7) size++;
  return size;
}

/** The bytes with U+FFFD in place of what is not UTF-8, as the WHATWG decoder does it. */
export function repairUtf8(bytes: Uint8Array): Uint8Array {
  return Buffer.from(Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('utf8'), 'utf8');
}
