import { ArrayGroup } from '../native/array-columns.js';
import type { ByteSink } from '../native/byte-sink.js';
import type { NamedColumn } from '../native/native-block.js';
import { FixedColumn, type RevocableColumn } from '../native/native-columns.js';
import {
  longLength,
  notChecked,
  readVarint32,
  readVarint64,
  skipField,
  varint64,
  varintEnd,
} from '../otlp/wire.js';

/** An array of 8-byte numbers per row; elements are added to the row that `group.endRow` closes. */
export class NumberArray {
  readonly group = new ArrayGroup();
  readonly column: RevocableColumn;
  private readonly elements: FixedColumn;

  constructor(type: 'Float64' | 'UInt64') {
    this.elements = new FixedColumn(type, 8);
    this.column = this.group.column(this.elements);
  }

  /** Adds `length` bytes of little-endian numbers, as packed fields have them. */
  append(source: ByteSink, pos: number, length: number): void {
    this.elements.sink.appendBytes(source, pos, length);
    this.group.count += length / 8;
  }

  append64(low: number, high: number): void {
    const at = this.elements.slot(this.group.count++);
    const { view } = this.elements.sink;
    view.setInt32(at, low, true);
    view.setInt32(at + 4, high, true);
  }
}

/** One side of an exponential histogram: `offset` and counts. */
export class Buckets {
  readonly offset = new FixedColumn('Int32', 4);
  readonly counts = new NumberArray('UInt64');
  private currentOffset = 0;

  /** Forgets what was read for a point that got no row. */
  begin(): void {
    this.currentOffset = 0;
  }

  /** Reads the Buckets message at [pos, end); of several for one point the last counts. */
  read(source: ByteSink, pos: number, end: number): void {
    const { bytes } = source;
    const { counts } = this;
    counts.group.dropRow();
    this.currentOffset = 0;
    while (pos < end) {
      const tag = readVarint32(bytes, pos, end);
      pos = varintEnd[0];
      let until = pos;
      if (tag === 0x12) {
        const length = longLength(bytes, pos, end);
        pos = varintEnd[0];
        until = pos + length;
      } else {
        until = skipField(bytes, tag, pos, end);
        if (tag === 0x08) this.currentOffset = zigzag(readVarint32(bytes, pos, end));
      }
      if (tag !== 0x12 && tag !== 0x10) {
        pos = until;
        continue;
      }
      while (pos < until) {
        if (readVarint64(bytes, pos, until) < 0) throw notChecked();
        counts.append64(varint64[0], varint64[1]);
        pos = varintEnd[0];
      }
    }
  }

  endRow(row: number): void {
    this.offset.putUint32(row, this.currentOffset);
    this.counts.group.endRow(row);
  }
}

/** A sint32 from its varint. */
export function zigzag(value: number): number {
  return (value >>> 1) ^ -(value & 1);
}

/** The columns `quantiles` and `quantile_values` of summaries. */
export class Quantiles {
  readonly group = new ArrayGroup();
  private readonly quantile = new FixedColumn('Float64', 8);
  private readonly value = new FixedColumn('Float64', 8);
  readonly columns: NamedColumn[] = [
    { name: 'quantiles', column: this.group.column(this.quantile) },
    { name: 'quantile_values', column: this.group.column(this.value) },
  ];

  /** Adds the ValueAtQuantile message at [pos, end). */
  add(source: ByteSink, pos: number, end: number): void {
    const { bytes } = source;
    const index = this.group.count++;
    let quantileAt = -1;
    let valueAt = -1;
    while (pos < end) {
      const tag = readVarint32(bytes, pos, end);
      pos = varintEnd[0];
      if (tag === 0x09) quantileAt = pos;
      else if (tag === 0x11) valueAt = pos;
      pos = skipField(bytes, tag, pos, end);
    }
    this.quantile.copy64(index, source, quantileAt);
    this.value.copy64(index, source, valueAt);
  }
}
