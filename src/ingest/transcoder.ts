import type { Signal } from './signal.js';
import type { TimeWindow } from './time-window.js';

/** The bytes of ONE block in ClickHouse's Native format, and what is needed to insert them. */
export interface NativeBlock {
  rows: number;
  /** Column names for the INSERT column list; those with dots need backticks. */
  columns: string[];
  /** Column list with types for `file('x', Native, '<structure>')`: no quotes in it, names already in backticks. */
  structure: string;
  /** The block, in order. Views of buffers that the next `add` writes to again. */
  chunks: Uint8Array[];
  /** Items of the added bodies that did not become rows. */
  rejected: number;
}

/** Turns OTLP bodies of one signal into one Native block. */
export class Transcoder {
  readonly rows = 0;
  readonly byteLength = 0;

  constructor(readonly signal: Signal) {}

  add(_body: Uint8Array, _window: TimeWindow): void {}

  finish(): NativeBlock {
    return { rows: 0, columns: [], structure: '', chunks: [], rejected: 0 };
  }
}
