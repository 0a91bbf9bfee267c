import { appendAnyValue } from './any-value.js';
import { pairKeyAt, pairKeyEnd, pairValueAt, pairValueEnd, readKeyValue } from './any-value-json.js';
import { ByteSink } from './byte-sink.js';
import { Dictionary, resized } from './dictionary.js';
import { DICTIONARY_VERSION, dictionaryHead, indexWidth, uint64 } from './dictionary-column.js';
import type { NativeColumn } from './native-columns.js';

/**
 * Columns whose value is the same for many rows in a row: what belongs to a resource, a scope or a metric. Each
 * distinct one is encoded once, as an entry; while bodies are read only (entry, rows) is noted, and the column is
 * written out at the end with bulk copies.
 */
export class Runs {
  /** entry, rows; entry, rows; ... */
  private runs = new Int32Array(256);
  private used = 0;

  /** The next `rows` rows have entry `entry`. */
  extend(entry: number, rows: number): void {
    if (rows === 0) return;
    if (this.used > 0 && this.runs[this.used - 2] === entry) {
      this.runs[this.used - 1] += rows;
      return;
    }
    if (this.used === this.runs.length) this.runs = resized(this.runs, this.used * 2);
    this.runs[this.used++] = entry;
    this.runs[this.used++] = rows;
  }

  get count(): number {
    return this.used / 2;
  }

  entry(run: number): number {
    return this.runs[run * 2];
  }

  rows(run: number): number {
    return this.runs[run * 2 + 1];
  }

  reset(): void {
    this.used = 0;
  }
}

type Indexes = Uint8Array | Uint16Array | Int32Array;

/** `count` indexes of `width` bytes in the memory of `sink`, which is kept from batch to batch. */
function indexArray(sink: ByteSink, width: number, count: number): Indexes {
  sink.length = 0;
  sink.reserve(width * count);
  sink.length = width * count;
  const { buffer } = sink.bytes;
  if (width === 1) return new Uint8Array(buffer, 0, count);
  return width === 2 ? new Uint16Array(buffer, 0, count) : new Int32Array(buffer, 0, count);
}

/** Repeats the first `size` elements of [from, from + size * times) by copies that double. */
function repeat(array: Indexes, from: number, size: number, times: number): void {
  const total = size * times;
  for (let done = size; done < total; ) {
    const next = Math.min(done, total - done);
    array.copyWithin(from + done, from, from + next);
    done += next;
  }
}

/** LowCardinality(String), one text per entry. */
export class RunText implements NativeColumn {
  readonly type = 'LowCardinality(String)';
  isTouched = false;
  private readonly dictionary = new Dictionary();
  private indexes = new Int32Array(64);
  private readonly packed = new ByteSink();
  private last = 0;

  constructor(private readonly runs: Runs) {}

  set(entry: number, source: ByteSink, pos: number, length: number): void {
    if (entry >= this.indexes.length) this.indexes = resized(this.indexes, entry * 2);
    this.last = this.dictionary.find(source, pos, length, this.last);
    this.indexes[entry] = this.last;
    if (this.last !== 0) this.isTouched = true;
  }

  get byteLength(): number {
    return this.dictionary.byteLength;
  }

  writePrefix(out: Uint8Array[]): void {
    out.push(DICTIONARY_VERSION);
  }

  writeData(out: Uint8Array[], rows: number): void {
    const { runs, dictionary } = this;
    const width = indexWidth(dictionary.count);
    const array = indexArray(this.packed, width, rows);
    let row = 0;
    for (let run = 0; run < runs.count; run++) {
      const until = row + runs.rows(run);
      array.fill(this.indexes[runs.entry(run)], row, until);
      row = until;
    }
    out.push(dictionaryHead(width, dictionary.count), dictionary.entries.written());
    out.push(uint64(rows), this.packed.written());
  }

  reset(): void {
    this.isTouched = false;
    this.last = 0;
    this.dictionary.reset();
  }
}

/** A number of 1 or 4 bytes per entry. */
export class RunNumber implements NativeColumn {
  isTouched = false;
  private values = new Int32Array(64);
  private readonly packed = new ByteSink();

  constructor(
    private readonly runs: Runs,
    readonly type: 'UInt32' | 'Int8' | 'Bool',
  ) {}

  set(entry: number, value: number): void {
    if (entry >= this.values.length) this.values = resized(this.values, entry * 2);
    this.values[entry] = value;
    if (value !== 0) this.isTouched = true;
  }

  get byteLength(): number {
    return 0;
  }

  writePrefix(): void {}

  writeData(out: Uint8Array[], rows: number): void {
    const { runs } = this;
    const array = indexArray(this.packed, this.type === 'UInt32' ? 4 : 1, rows);
    let row = 0;
    for (let run = 0; run < runs.count; run++) {
      const until = row + runs.rows(run);
      array.fill(this.values[runs.entry(run)], row, until);
      row = until;
    }
    out.push(this.packed.written());
  }

  reset(): void {
    this.isTouched = false;
  }
}

/** Map(LowCardinality(String), LowCardinality(String)) and its type signatures, one list of attributes per entry. */
export class RunAttributes implements NativeColumn {
  readonly type = 'Map(LowCardinality(String), LowCardinality(String))';
  readonly isAlwaysWritten = true;
  readonly types: RunText;
  private readonly keys = new Dictionary();
  private readonly values = new Dictionary();
  private keyIndexes = new Int32Array(256);
  private valueIndexes = new Int32Array(256);
  private pairs = 0;
  private repeatedBytes = 0;
  /** Where the pairs of each entry begin; one more than there are entries. */
  private starts = new Int32Array(64);
  private readonly text = new ByteSink();
  private readonly signature = new ByteSink();
  private readonly offsets = new ByteSink();
  private readonly packedKeys = new ByteSink();
  private readonly packedValues = new ByteSink();

  constructor(private readonly runs: Runs) {
    this.types = new RunText(runs);
  }

  get isTouched(): boolean {
    return this.pairs > 0;
  }

  get byteLength(): number {
    return this.keys.byteLength + this.values.byteLength + this.repeatedBytes;
  }

  /** The next `rows` rows have entry `entry`. */
  noteRows(entry: number, rows: number): void {
    this.repeatedBytes += rows * (8 + 2 * (this.starts[entry + 1] - this.starts[entry]));
  }

  /**
   * Adds the KeyValue message at [pos, end) to the entry that is being built.
   *
   * @returns false when its value is nested too deeply
   */
  add(source: ByteSink, pos: number, end: number): boolean {
    if (!readKeyValue(source, pos, end, 0)) return false;
    const { text } = this;
    text.length = 0;
    const key = this.keys.find(source, pairKeyAt, pairKeyEnd - pairKeyAt, 0);
    if (!appendAnyValue(source, pairValueAt, pairValueEnd, text, this.signature)) return false;
    let at = 0;
    while (text.bytes[at++] > 0x7f);
    const value = this.values.find(text, at, text.length - at, 0);
    if (this.pairs === this.keyIndexes.length) {
      this.keyIndexes = resized(this.keyIndexes, this.pairs * 2);
      this.valueIndexes = resized(this.valueIndexes, this.pairs * 2);
    }
    this.keyIndexes[this.pairs] = key;
    this.valueIndexes[this.pairs++] = value;
    return true;
  }

  /** The attributes added since the last entry are those of entry `entry`; entries come in order. */
  endEntry(entry: number): void {
    if (entry + 1 >= this.starts.length) this.starts = resized(this.starts, entry * 2 + 2);
    this.starts[entry + 1] = this.pairs;
    this.types.set(entry, this.signature, 0, this.signature.length);
    this.signature.length = 0;
  }

  /** Sets the entry of `target` to the value of the first attribute named `key`, or to nothing. */
  copyValue(entry: number, key: ByteSink, target: RunText): void {
    for (let pair = this.starts[entry]; pair < this.starts[entry + 1]; pair++) {
      if (!this.keys.isEntry(this.keyIndexes[pair], key)) continue;
      const value = this.valueIndexes[pair];
      const { entries } = this.values;
      target.set(entry, entries, this.values.startOf(value), this.values.lengthOf(value));
      return;
    }
    target.set(entry, key, 0, 0);
  }

  writePrefix(out: Uint8Array[]): void {
    out.push(DICTIONARY_VERSION, DICTIONARY_VERSION);
  }

  writeData(out: Uint8Array[], rows: number): void {
    const total = this.writeOffsets(out, rows);
    if (total === 0) return;
    this.writeIndexes(out, this.keys, this.keyIndexes, this.packedKeys, total);
    this.writeIndexes(out, this.values, this.valueIndexes, this.packedValues, total);
  }

  /** @returns how many pairs all rows have together */
  private writeOffsets(out: Uint8Array[], rows: number): number {
    const { runs, offsets, starts } = this;
    offsets.length = 0;
    offsets.reserve(rows * 8);
    offsets.length = rows * 8;
    const { view } = offsets;
    let total = 0;
    let at = 0;
    for (let run = 0; run < runs.count; run++) {
      const entry = runs.entry(run);
      const pairs = starts[entry + 1] - starts[entry];
      for (let row = runs.rows(run); row > 0; row--, at += 8) {
        total += pairs;
        view.setUint32(at, total, true);
        view.setUint32(at + 4, total / 4294967296, true);
      }
    }
    out.push(offsets.written());
    return total;
  }

  private writeIndexes(
    out: Uint8Array[],
    dictionary: Dictionary,
    indexes: Int32Array,
    packed: ByteSink,
    total: number,
  ): void {
    const { runs, starts } = this;
    const width = indexWidth(dictionary.count);
    const array = indexArray(packed, width, total);
    let at = 0;
    for (let run = 0; run < runs.count; run++) {
      const start = starts[runs.entry(run)];
      const pairs = starts[runs.entry(run) + 1] - start;
      const rows = runs.rows(run);
      for (let i = 0; i < pairs; i++) array[at + i] = indexes[start + i];
      repeat(array, at, pairs, rows);
      at += pairs * rows;
    }
    out.push(dictionaryHead(width, dictionary.count), dictionary.entries.written());
    out.push(uint64(total), packed.written());
  }

  /** Empties it; `types` is a column on its own and reset as one. */
  reset(): void {
    this.pairs = 0;
    this.repeatedBytes = 0;
    this.signature.length = 0;
    this.keys.reset();
    this.values.reset();
  }
}
