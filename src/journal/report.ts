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
