import { ByteSink } from './byte-sink.js';
import { Dictionary, resized } from './dictionary.js';
import type { RevocableColumn } from './native-columns.js';

/** Memory above this is given back when a batch used less than a quarter of it. */
const KEPT_INDEXES = 1 << 20;

/** LowCardinality(String); the default is empty. */
export class DictionaryColumn implements RevocableColumn {
  readonly type = 'LowCardinality(String)';
  private readonly dictionary = new Dictionary();
  private indexes = new Int32Array(256);
  private rows = 0;
  /** The entry put last, from which the next is guessed. */
  private last = 0;
  private markedRows = 0;
  private readonly packed = new ByteSink();

  get isTouched(): boolean {
    return this.rows > 0;
  }

  get byteLength(): number {
    return this.dictionary.byteLength + this.rows * 2;
  }

  /** Text of `length` bytes at `pos`. */
  put(row: number, source: ByteSink, pos: number, length: number): void {
    this.last = this.dictionary.find(source, pos, length, this.last);
    if (this.last !== 0) this.putIndex(row, this.last);
  }

  /** Appends to a column whose rows are all written. */
  append(source: ByteSink, pos: number, length: number): void {
    this.last = this.dictionary.find(source, pos, length, this.last);
    if (this.rows === this.indexes.length) this.grow(this.rows);
    this.indexes[this.rows++] = this.last;
  }

  /** A new list begins: the guess what comes next starts again from what came first last time. */
  restart(): void {
    this.last = 0;
  }

  private putIndex(row: number, index: number): void {
    if (row >= this.indexes.length) this.grow(row);
    if (row > this.rows) this.indexes.fill(0, this.rows, row);
    this.indexes[row] = index;
    this.rows = row + 1;
  }

  private grow(row: number): void {
    this.indexes = resized(this.indexes, Math.max(row + 1, this.indexes.length * 2));
  }

  writePrefix(out: Uint8Array[]): void {
    out.push(DICTIONARY_VERSION);
  }

  writeData(out: Uint8Array[], rows: number): void {
    if (rows === 0) return;
    if (rows > this.indexes.length) this.grow(rows);
    if (rows > this.rows) this.indexes.fill(0, this.rows, rows);
    this.rows = Math.max(rows, this.rows);
    const width = indexWidth(this.dictionary.count);
    out.push(dictionaryHead(width, this.dictionary.count), this.dictionary.entries.written());
    this.packed.length = 0;
    packIndexes(this.indexes, rows, width, this.packed);
    out.push(uint64(rows), this.packed.written());
  }

  mark(): void {
    this.markedRows = this.rows;
  }

  rollback(): void {
    this.rows = this.markedRows;
  }

  reset(): void {
    if (this.indexes.length > KEPT_INDEXES && this.rows < this.indexes.length / 4) {
      this.indexes = new Int32Array(KEPT_INDEXES);
    }
    this.packed.recycle();
    this.rows = 0;
    this.markedRows = 0;
    this.last = 0;
    this.dictionary.reset();
  }
}

/** ClickHouse's version number for dictionaries that travel with the block. */
export const DICTIONARY_VERSION = uint64(1);
/** "The block has its own keys" and "they are all the dictionary", above the number of the index type. */
const DICTIONARY_FLAGS = 0x600;

/** Bytes of an index into `count` entries: 1, 2 or 4. */
export function indexWidth(count: number): number {
  return count <= 0x100 ? 1 : count <= 0x10000 ? 2 : 4;
}

/** What stands before the entries of a dictionary. */
export function dictionaryHead(width: number, count: number): Uint8Array {
  const head = new Uint8Array(16);
  const view = new DataView(head.buffer);
  view.setUint32(0, DICTIONARY_FLAGS | (width === 1 ? 0 : width === 2 ? 1 : 2), true);
  view.setUint32(8, count, true);
  return head;
}

export function uint64(value: number): Uint8Array {
  const bytes = new Uint8Array(8);
  new DataView(bytes.buffer).setBigUint64(0, BigInt(value), true);
  return bytes;
}

function packIndexes(indexes: Int32Array, count: number, width: number, out: ByteSink): void {
  out.reserve(count * width);
  out.length = count * width;
  const to = out.bytes;
  if (width === 1) for (let i = 0; i < count; i++) to[i] = indexes[i];
  else if (width === 2) new Uint16Array(to.buffer, 0, count).set(indexes.subarray(0, count));
  else new Int32Array(to.buffer, 0, count).set(indexes.subarray(0, count));
}
