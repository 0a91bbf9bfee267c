import type { ErrorCode } from '../errors.js';
import type { CheckResult, TimeWindow } from '../otlp/check.js';
import type { Signal } from '../signal.js';

/** Bytes alone in an ArrayBuffer, which can be moved to another thread. */
export type Body = Uint8Array<ArrayBuffer>;

/** What the main thread asks of a thread. Bodies are moved, not copied. */
export type ThreadRequest =
  | { kind: 'check'; signal: Signal; window: TimeWindow; body: Body }
  | { kind: 'json'; signal: Signal; window: TimeWindow; body: Body }
  | { kind: 'transcode'; signal: Signal; file: string; entries: { window: TimeWindow; body: Body }[] };

/** A body that passed the check, as OTLP protobuf. */
export interface CheckedBody {
  body: Body;
  result: CheckResult;
}

/** A Native block in a file, ready for one INSERT. */
export interface NativeFile {
  rows: number;
  columns: string[];
  structure: string;
  fileBytes: number;
}

export type ThreadAnswer =
  | { id: number; value: CheckedBody | NativeFile }
  | { id: number; error: { code: ErrorCode | undefined; message: string; stack: string | undefined } };
