import type { RowTimes } from '../answers/time-groups.js';
import type { ErrorCode } from '../errors.js';
import type { CheckResult, TimeWindow } from '../otlp/check.js';
import type { Signal } from '../signal.js';

/** What the main thread asks of a thread. Bodies lie in memory that both share (edge/body-pool.ts), others are copied. */
export type ThreadRequest =
  | { kind: 'check'; signal: Signal; window: TimeWindow; body: Uint8Array }
  | { kind: 'json'; signal: Signal; window: TimeWindow; body: Uint8Array }
  | { kind: 'transcode'; signal: Signal; file: string; entries: { window: TimeWindow; body: Uint8Array }[] };

/** A body that passed the check, as OTLP protobuf. */
export interface CheckedBody {
  body: Uint8Array;
  result: CheckResult;
}

/** A Native block in a file, ready for one INSERT. */
export interface NativeFile {
  rows: number;
  columns: string[];
  structure: string;
  fileBytes: number;
  /** Of its rows; undefined without any. */
  times: BlockTimes | undefined;
}

export interface BlockTimes extends RowTimes {
  /** The hours that the rows lie in: their first milliseconds. */
  hoursMs: number[];
}

export type ThreadResult = CheckResult | CheckedBody | NativeFile;

export type ThreadAnswer =
  | { id: number; value: ThreadResult }
  | { id: number; error: { code: ErrorCode | undefined; message: string; stack: string | undefined } };
