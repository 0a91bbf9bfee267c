import { appendAnyValue } from './any-value.js';
import { pairKeyAt, pairKeyEnd, pairValueAt, pairValueEnd, readKeyValue } from './any-value-json.js';
import { Offsets } from './array-columns.js';
import { ByteSink } from './byte-sink.js';
import { DictionaryColumn } from './dictionary-column.js';
import type { RevocableColumn } from './native-columns.js';

/**
 * Attributes: a Map(LowCardinality(String), String) with all pairs as they came, duplicates too, and beside it a
 * column of type signatures, one character (or bracketed group) per pair.
 *
 * Pairs are added to the current row; `endRow` closes it, `dropRow` throws its pairs away.
 */
export class AttributesColumn implements RevocableColumn {
  readonly type = 'Map(LowCardinality(String), String)';
  readonly isAlwaysWritten = true;
  readonly types = new DictionaryColumn();
  private readonly offsets = new Offsets();
  private readonly keys = new DictionaryColumn();
  private readonly values = new ByteSink();
  private readonly signature = new ByteSink();
  private pairs = 0;
  private endedPairs = 0;
  private markedPairs = 0;
  private markedValues = 0;

  get isTouched(): boolean {
    return this.pairs > 0;
  }

  get byteLength(): number {
    return this.offsets.byteLength + this.keys.byteLength + this.values.length;
  }

  /**
   * Adds the KeyValue message at [pos, end).
   *
   * @returns false when the value is nested too deeply: the row must then be dropped
   */
  add(source: ByteSink, pos: number, end: number): boolean {
    const { bytes } = source;
    const keyLength = bytes[pos + 1];
    const value = pos + 2 + keyLength;
    // As every SDK writes it: key, value, lengths under 128.
    if (value + 1 < end && bytes[pos] === 0x0a && keyLength < 0x80 && bytes[value] === 0x12) {
      const valueLength = bytes[value + 1];
      if (valueLength < 0x80 && value + 2 + valueLength === end) {
        this.pairs++;
        this.keys.append(source, pos + 2, keyLength);
        return appendAnyValue(source, value + 2, end, this.values, this.signature);
      }
    }
    return this.addGeneral(source, pos, end);
  }

  private addGeneral(source: ByteSink, pos: number, end: number): boolean {
    if (!readKeyValue(source, pos, end, 0)) return false;
    this.pairs++;
    this.keys.append(source, pairKeyAt, pairKeyEnd - pairKeyAt);
    return appendAnyValue(source, pairValueAt, pairValueEnd, this.values, this.signature);
  }

  /** The pairs added since the last row are those of row `row`. */
  endRow(row: number): void {
    if (this.pairs === this.endedPairs) return;
    this.offsets.set(row, this.pairs);
    this.types.put(row, this.signature, 0, this.signature.length);
    this.signature.length = 0;
    this.endedPairs = this.pairs;
    this.keys.restart();
  }

  writePrefix(out: Uint8Array[]): void {
    this.keys.writePrefix(out);
  }

  writeData(out: Uint8Array[], rows: number): void {
    this.offsets.writeData(out, rows);
    this.keys.writeData(out, this.pairs);
    out.push(this.values.written());
  }

  mark(): void {
    this.markedPairs = this.pairs;
    this.markedValues = this.values.length;
    this.offsets.mark();
    this.keys.mark();
    this.types.mark();
  }

  rollback(): void {
    this.pairs = this.markedPairs;
    this.endedPairs = this.markedPairs;
    this.values.length = this.markedValues;
    this.signature.length = 0;
    this.keys.restart();
    this.offsets.rollback();
    this.keys.rollback();
    this.types.rollback();
  }

  /** Empties it; `types` is a column on its own and reset as one. */
  reset(): void {
    this.pairs = 0;
    this.values.recycle();
    this.offsets.reset();
    this.keys.reset();
    this.mark();
    this.rollback();
  }
}
