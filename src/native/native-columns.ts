import { ByteSink } from './byte-sink.js';

/**
 * Columns that grow row by row, in the layout of ClickHouse's Native format (revision 0, as files have it).
 *
 * Every column is sparse at its end: rows that were not written are defaults and are filled in when a later row is
 * written or the block is finished, so a field that is nowhere set costs nothing at all. Rows are written in order.
 */
export interface NativeColumn {
  /** ClickHouse type. */
  readonly type: string;
  /** Whether a value was written; a column without one is left out of the block, if that is cheap. */
  readonly isTouched: boolean;
  /**
   * For types whose defaults cost the engine more than reading them: a Map with LowCardinality takes it 634 ns a row
   * when it is left out of an insert, an Array(LowCardinality) 318 ns (other types 1 to 10 ns; chdb 26.7).
   */
  readonly isAlwaysWritten?: boolean;
  /** Bytes held so far, roughly what the block will have. */
  readonly byteLength: number;
  /** What Native puts before the data (versions of nested dictionaries). */
  writePrefix(out: Uint8Array[]): void;
  /** The data of rows [0, rows). The chunks are views, good until the next row is written. */
  writeData(out: Uint8Array[], rows: number): void;
  /** Empties it and keeps the memory. */
  reset(): void;
}

/** A column whose last writes can be taken back, for items that turn out to be rejected half way. */
export interface RevocableColumn extends NativeColumn {
  /** What is written so far stays. */
  mark(): void;
  /** Takes back what was written after the last `mark`. */
  rollback(): void;
}

/** Values of `width` bytes; the default is all zero. */
export class FixedColumn implements RevocableColumn {
  readonly sink = new ByteSink();
  private marked = 0;

  constructor(
    readonly type: string,
    readonly width: number,
  ) {}

  get isTouched(): boolean {
    return this.sink.length > 0;
  }

  get byteLength(): number {
    return this.sink.length;
  }

  /** Where row `row` is to be written in `sink`; all before it is filled. Fetch `sink.view` after this. */
  slot(row: number): number {
    const { sink } = this;
    const at = row * this.width;
    if (at !== sink.length) this.fill(at);
    sink.reserve(this.width);
    sink.length = at + this.width;
    return at;
  }

  private fill(until: number): void {
    if (until > this.sink.length) this.sink.appendZeros(until - this.sink.length);
    else this.sink.length = until;
  }

  /** A 32-bit number; 0 costs nothing. */
  putUint32(row: number, value: number): void {
    if (value === 0) return;
    const at = this.slot(row);
    this.sink.view.setInt32(at, value, true);
  }

  putByte(row: number, value: number): void {
    if (value === 0) return;
    const at = this.slot(row);
    this.sink.bytes[at] = value;
  }

  put64(row: number, low: number, high: number): void {
    if ((low | high) === 0) return;
    const at = this.slot(row);
    this.sink.view.setInt32(at, low, true);
    this.sink.view.setInt32(at + 4, high, true);
  }

  putDouble(row: number, value: number): void {
    if (value === 0) return;
    const at = this.slot(row);
    this.sink.view.setFloat64(at, value, true);
  }

  /** The 8 bytes at `pos` (negative: missing, the default). */
  copy64(row: number, source: ByteSink, pos: number): void {
    if (pos < 0) return;
    const { view } = source;
    this.put64(row, view.getInt32(pos, true), view.getInt32(pos + 4, true));
  }

  /** An id of 8 or 16 bytes at `pos`, or the default when it has another length. */
  copyId(row: number, source: ByteSink, pos: number, length: number): void {
    if (length !== this.width) return;
    const at = this.slot(row);
    const from = source.view;
    const to = this.sink.view;
    to.setInt32(at, from.getInt32(pos, true), true);
    to.setInt32(at + 4, from.getInt32(pos + 4, true), true);
    if (length === 8) return;
    to.setInt32(at + 8, from.getInt32(pos + 8, true), true);
    to.setInt32(at + 12, from.getInt32(pos + 12, true), true);
  }

  writePrefix(): void {}

  writeData(out: Uint8Array[], rows: number): void {
    this.sink.appendZeros(rows * this.width - this.sink.length);
    out.push(this.sink.written());
  }

  mark(): void {
    this.marked = this.sink.length;
  }

  rollback(): void {
    this.sink.length = this.marked;
  }

  reset(): void {
    this.marked = 0;
    this.sink.recycle();
  }
}

/** Nullable(Float64); the default is NULL. */
export class NullableDoubleColumn implements RevocableColumn {
  readonly type = 'Nullable(Float64)';
  private readonly values = new FixedColumn('Float64', 8);
  /** 1 where a value is present; turned into ClickHouse's null map, where 1 is NULL, at the end. */
  private readonly present = new FixedColumn('UInt8', 1);
  private readonly nulls = new ByteSink();

  get isTouched(): boolean {
    return this.present.isTouched;
  }

  get byteLength(): number {
    return this.values.byteLength + this.present.byteLength;
  }

  /** The double at `pos` (negative: missing, NULL). */
  copy(row: number, source: ByteSink, pos: number): void {
    if (pos < 0) return;
    this.present.putByte(row, 1);
    this.values.copy64(row, source, pos);
  }

  /** Zero, which is a value and not NULL. */
  putZero(row: number): void {
    this.present.putByte(row, 1);
  }

  writePrefix(): void {}

  writeData(out: Uint8Array[], rows: number): void {
    const present: Uint8Array[] = [];
    this.present.writeData(present, rows);
    this.nulls.length = 0;
    this.nulls.appendZeros(rows);
    for (let row = 0; row < rows; row++) this.nulls.bytes[row] = present[0][row] ^ 1;
    out.push(this.nulls.written());
    this.values.writeData(out, rows);
  }

  mark(): void {
    this.values.mark();
    this.present.mark();
  }

  rollback(): void {
    this.values.rollback();
    this.present.rollback();
  }

  reset(): void {
    this.values.reset();
    this.present.reset();
  }
}

/** String; the default is empty. */
export class StringColumn implements RevocableColumn {
  readonly type = 'String';
  private readonly sink = new ByteSink();
  private rows = 0;
  private markedRows = 0;
  private markedLength = 0;

  get isTouched(): boolean {
    return this.rows > 0;
  }

  get byteLength(): number {
    return this.sink.length;
  }

  /** Text of `length` bytes at `pos`. */
  put(row: number, source: ByteSink, pos: number, length: number): void {
    if (length === 0) return;
    if (row > this.rows) this.sink.appendZeros(row - this.rows);
    this.sink.appendString(source, pos, length);
    this.rows = row + 1;
  }

  /** A value that is a ClickHouse String already: length and bytes. */
  putEncoded(row: number, encoded: ByteSink): void {
    if (encoded.length <= 1) return;
    if (row > this.rows) this.sink.appendZeros(row - this.rows);
    this.sink.appendBytes(encoded, 0, encoded.length);
    this.rows = row + 1;
  }

  writePrefix(): void {}

  writeData(out: Uint8Array[], rows: number): void {
    this.sink.appendZeros(rows - this.rows);
    this.rows = rows;
    out.push(this.sink.written());
  }

  mark(): void {
    this.markedRows = this.rows;
    this.markedLength = this.sink.length;
  }

  rollback(): void {
    this.rows = this.markedRows;
    this.sink.length = this.markedLength;
  }

  reset(): void {
    this.rows = 0;
    this.markedRows = 0;
    this.markedLength = 0;
    this.sink.recycle();
  }
}
