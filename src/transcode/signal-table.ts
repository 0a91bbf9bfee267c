import type { ByteSink } from '../native/byte-sink.js';
import type { NamedColumn } from '../native/native-block.js';
import type { FixedColumn } from '../native/native-columns.js';
import type { TimeBounds } from '../otlp/time-window.js';

/** The columns of one signal's table that differ from item to item. */
export interface SignalTable {
  readonly rows: number;
  rejected: number;
  readonly columns: readonly NamedColumn[];
  /** Nanoseconds, one per row, never 0. */
  readonly timestamp: FixedColumn;
  /** Adds the message at [pos, end) of a scope (span, log record or metric) as rows; counts what it rejects. */
  addItem(source: ByteSink, pos: number, end: number, bounds: TimeBounds): void;
  /** How many items `addItem` would see. */
  countItems(source: ByteSink, pos: number, end: number): number;
  /** Empties it and keeps the memory. */
  reset(): void;
}
