import type { TimeRange } from '../http/time.js';
import type { Signal } from '../signal.js';

/** What an answer is about: the first part of its key, by which hits are counted. */
export type AnswerKind = 'services' | 'metrics' | 'logs' | 'traces' | 'trace';

/**
 * Answers that change together, the third part of their keys:
 * - `live`: new rows can still come into the time range
 * - `steps-5m`, `steps-30m`: live, in steps so long that some seconds don't show
 * - `aged`: live, for who takes answers that are some seconds old; rows change nothing of them
 * - `d<day since 1970>`, `days`: only late rows can change them; within one day (UTC), or over several
 */
export type TimeGroup = string;

/** Which answers rows of a signal are in. */
export const KINDS_OF_SIGNAL: Readonly<Record<Signal, readonly AnswerKind[]>> = {
  metrics: ['metrics', 'services'],
  logs: ['logs', 'services'],
  traces: ['traces', 'trace', 'services'],
};

/** The earliest and the latest time of rows, Unix milliseconds; by up to 1 ms wider. */
export interface RowTimes {
  minMs: number;
  maxMs: number;
}

const MINUTE_MS = 60_000;
const HOUR_MS = 60 * MINUTE_MS;
const DAY_MS = 24 * HOUR_MS;

/**
 * A range is closed when it ended this long ago, rows are late when they are older than half of it: the other half is for clocks of
 * instances that differ, and for invalidations on their way.
 */
const CLOSED_AFTER_MS = 10 * MINUTE_MS;
const LATE_AFTER_MS = CLOSED_AFTER_MS / 2;

/** Rows that late are spread over so many days that naming the days is no gain. */
const MAX_DAYS = 8;

/** How far beyond its time range an answer reads: spans around those found, the point before the first change. */
const READS_BEYOND_MS: Readonly<Record<AnswerKind, readonly [before: number, after: number]>> = {
  services: [0, 0],
  metrics: [HOUR_MS, 0],
  logs: [0, 0],
  traces: [HOUR_MS, HOUR_MS],
  trace: [0, 0],
};

const dayOf = (ms: number) => Math.floor(ms / DAY_MS);

/** The group of an answer about a range. */
export function timeGroupOf(kind: AnswerKind, { fromNs, toNs }: TimeRange, nowMs: number): TimeGroup {
  const [before, after] = READS_BEYOND_MS[kind];
  const fromMs = Number(fromNs / 1_000_000n) - before;
  const toMs = Number(toNs / 1_000_000n) + after;
  if (toMs > nowMs - CLOSED_AFTER_MS) return 'live';
  return dayOf(fromMs) === dayOf(toMs) ? `d${dayOf(fromMs)}` : 'days';
}

/** Series up to now in steps at least this long, the longest first, and how long they may be without the newest rows. */
export const COARSE: readonly { group: TimeGroup; stepMs: number; gapMs: number }[] = [
  { group: 'steps-30m', stepMs: 30 * MINUTE_MS, gapMs: 60_000 },
  { group: 'steps-5m', stepMs: 5 * MINUTE_MS, gapMs: 10_000 },
];

/** The groups of answers that rows stored now may have changed, those of `COARSE` aside; undefined: all. */
export function groupsChanged({ minMs, maxMs }: RowTimes, nowMs: number): TimeGroup[] | undefined {
  if (minMs >= nowMs - LATE_AFTER_MS) return ['live'];
  const [first, last] = [dayOf(minMs), dayOf(maxMs)];
  if (last - first >= MAX_DAYS) return undefined;
  return ['live', 'days', ...Array.from({ length: last - first + 1 }, (_, n) => `d${first + n}`)];
}
