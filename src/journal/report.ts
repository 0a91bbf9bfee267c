import { errorCode } from './durable-files.js';

/** What an operator should hear about the files of the journal. Nothing of it stops the program. */
export type JournalReport =
  /** Bytes that are no whole record; a copy is in `savedAs`, or the segment is kept when there is none. */
  | { kind: 'damaged'; file: string; offset: number; bytes: number; savedAs: string | undefined }
  /** An unfinished write at the end of a file was cut off; nobody was told that it is durable. */
  | { kind: 'torn'; file: string; offset: number; bytes: number }
  /** A record of a newer version; its segment is kept. */
  | { kind: 'unknown'; file: string; offset: number; type: number; version: number }
  | { kind: 'problem'; message: string; error?: unknown };

export type Report = (report: JournalReport) => void;

const TELL_AGAIN_MS = 10_000;

/** Reports problems of writing, the same one every ten seconds at most: not for every request that comes while the disk is full. */
export function reportSeldom(report: Report, message: string): (error: unknown) => void {
  let toldCode: string | undefined;
  let toldAtMs = 0;
  return (error) => {
    const code = errorCode(error);
    const nowMs = performance.now();
    if (code === toldCode && nowMs - toldAtMs < TELL_AGAIN_MS) return;
    toldCode = code;
    toldAtMs = nowMs;
    report({ kind: 'problem', message, error });
  };
}
