import type { RowTimes } from '../answers/time-groups.js';
import { AppError, type ErrorCode } from '../errors.js';
import type { CheckResult, TimeWindow } from '../otlp/check.js';
import type { Signal } from '../signal.js';

/** What the main thread asks of a thread. Bodies lie in memory that both share (edge/body-pool.ts), others are copied. */
export type ThreadRequest =
  | { kind: 'check'; signal: Signal; window: TimeWindow; body: Uint8Array }
  | { kind: 'json'; signal: Signal; window: TimeWindow; body: Uint8Array }
  | ({ kind: 'transcode' } & TranscodeRequest);

/** A batch, to be written as one Native block into `file`. */
export interface TranscodeRequest {
  signal: Signal;
  file: string;
  entries: { window: TimeWindow; body: Uint8Array }[];
}

/** What a process that tries a batch is asked. */
export interface TrialRequest {
  /** The setting FAILPOINT. */
  failpoint: string | undefined;
  request: TranscodeRequest;
}

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

export type ThreadAnswer = { id: number; value: ThreadResult } | { id: number; error: SentError };

interface SentError {
  /** Of an AppError. */
  code: ErrorCode | undefined;
  /** Of an error of the system, a full disk say. */
  systemCode: string | undefined;
  message: string;
  stack: string | undefined;
}

/**
 * Why a thread or process did not do its work: something was thrown there, or it ended. The work itself is to blame, unless the system's `code`
 * says that it was the disk or the like.
 */
export class ThreadError extends Error {
  override readonly name: string = 'ThreadError';
  code: string | undefined;
}

/** What the work comes to, in a form that can be sent. */
export function answerOf(id: number, work: () => ThreadResult): ThreadAnswer {
  try {
    return { id, value: work() };
  } catch (thrown) {
    const { message, stack, errno, code } = thrown as NodeJS.ErrnoException;
    const systemCode = errno === undefined ? undefined : code;
    return {
      id,
      error: { code: thrown instanceof AppError ? thrown.code : undefined, systemCode, message, stack },
    };
  }
}

/** The other end of `answerOf`. @throws AppError as it was thrown, ThreadError for anything else */
export function resultOf(answer: ThreadAnswer): ThreadResult {
  if ('value' in answer) return answer.value;
  const { code, systemCode, message, stack } = answer.error;
  if (code) throw new AppError(code, message);
  throw Object.assign(new ThreadError(message), { code: systemCode }, stack && { stack });
}
