/** Above this many open messages a length takes five bytes, so that closing never moves much more than is written. */
const SHALLOW = 32;
const PADDED_LENGTH_BYTES = 5;

/** Appends protobuf's wire format to one growing array. */
export class ProtobufWriter {
  private bytes: Uint8Array;
  private view: DataView;
  private length = 0;
  private openMessages = 0;

  /** @param expectedBytes first size of the array; it doubles when that is not enough */
  constructor(expectedBytes: number) {
    this.bytes = new Uint8Array(Math.max(expectedBytes, 64));
    this.view = new DataView(this.bytes.buffer);
  }

  /** What was written: a view of an array that nothing else uses. */
  finish(): Uint8Array {
    return this.bytes.subarray(0, this.length);
  }

  /** An unsigned number below 2^32; tags and lengths, too. */
  varint32(value: number): void {
    this.reserve(5);
    let rest = value;
    while (rest > 0x7f) {
      this.bytes[this.length++] = (rest & 0x7f) | 0x80;
      rest >>>= 7;
    }
    this.bytes[this.length++] = rest;
  }

  /** 64 bits given as two unsigned halves. */
  varint64(low: number, high: number): void {
    this.reserve(10);
    let lower = low;
    let upper = high;
    while (upper !== 0) {
      this.bytes[this.length++] = (lower & 0x7f) | 0x80;
      lower = ((upper << 25) | (lower >>> 7)) >>> 0;
      upper >>>= 7;
    }
    this.varint32(lower);
  }

  fixed32(value: number): void {
    this.reserve(4);
    this.view.setUint32(this.length, value, true);
    this.length += 4;
  }

  /** 64 bits given as two unsigned halves. */
  fixed64(low: number, high: number): void {
    this.reserve(8);
    this.view.setUint32(this.length, low, true);
    this.view.setUint32(this.length + 4, high, true);
    this.length += 8;
  }

  double(value: number): void {
    this.reserve(8);
    this.view.setFloat64(this.length, value, true);
    this.length += 8;
  }

  /** One byte as it is. */
  byte(value: number): void {
    this.reserve(1);
    this.bytes[this.length++] = value;
  }

  /** `source[start, end)` behind its length. */
  lengthAndBytes(source: Uint8Array, start: number, end: number): void {
    const count = end - start;
    this.varint32(count);
    this.reserve(count);
    const target = this.bytes;
    let at = this.length;
    // Below this size a loop is quicker than a call of set() with a subarray made for it.
    if (count < 48) for (let index = start; index < end; index++) target[at++] = source[index];
    else target.set(source.subarray(start, end), at);
    this.length += count;
  }

  /** Starts something whose length is known only at its end; give what this returns to `close`. */
  open(): number {
    this.openMessages++;
    const lengthBytes = this.openMessages > SHALLOW ? PADDED_LENGTH_BYTES : 1;
    this.reserve(lengthBytes);
    this.length += lengthBytes;
    return this.length;
  }

  close(start: number): void {
    const count = this.length - start;
    const deep = this.openMessages-- > SHALLOW;
    if (deep) {
      this.paddedLength(start - PADDED_LENGTH_BYTES, count);
    } else if (count < 0x80) {
      this.bytes[start - 1] = count;
    } else {
      const lengthBytes = Math.ceil((32 - Math.clz32(count)) / 7);
      this.reserve(lengthBytes);
      this.bytes.copyWithin(start + lengthBytes - 1, start, this.length);
      this.length = start - 1;
      this.varint32(count);
      this.length += count;
    }
  }

  /** A varint may carry leading zero groups: every reader takes them. */
  private paddedLength(at: number, count: number): void {
    let rest = count;
    for (let index = 0; index < PADDED_LENGTH_BYTES; index++) {
      const more = index < PADDED_LENGTH_BYTES - 1 ? 0x80 : 0;
      this.bytes[at + index] = (rest & 0x7f) | more;
      rest >>>= 7;
    }
  }

  private reserve(count: number): void {
    if (this.length + count <= this.bytes.length) return;
    const larger = new Uint8Array(Math.max(this.bytes.length * 2, this.length + count));
    larger.set(this.bytes.subarray(0, this.length));
    this.bytes = larger;
    this.view = new DataView(larger.buffer);
  }
}
