import { AppError } from '../errors.js';

/** The half-open time range [from, to) of a question, in nanoseconds since 1970. */
export interface TimeRange {
  fromNs: bigint;
  toNs: bigint;
}

/** A point in time as a client may write it: fixed, or relative to now. */
export type TimeExpression = { unixNano: bigint } | { beforeNowNs: bigint };

export const TIME_ALLOWED = 'ISO 8601, Unix milliseconds, now, or now-15m style (s, m, h, d, w)';

const NS_PER_MS = 1_000_000n;
const UNIT_SECONDS: Record<string, bigint> = { s: 1n, m: 60n, h: 3600n, d: 86_400n, w: 604_800n };
const ISO =
  /^(\d{4}-\d{2}-\d{2})(?:[T ](\d{2}:\d{2})(?::(\d{2})(?:[.,](\d{1,9}))?)?(Z|[+-]\d{2}:?\d{2})?)?$/i;
/** 2262-01-01: the last year that 64-bit nanoseconds reach. */
const MAX_UNIX_NANO = 9_214_646_400_000_000_000n;
const HOUR_NS = 3_600_000_000_000n;

/** @returns undefined when the text is no time */
export function parseTime(text: string): TimeExpression | undefined {
  const relative = /^now(?:-(\d{1,9})([smhdw]))?$/i.exec(text.trim());
  if (relative) {
    const [, amount, unit] = relative;
    return { beforeNowNs: amount ? BigInt(amount) * UNIT_SECONDS[unit.toLowerCase()] * 1_000_000_000n : 0n };
  }
  const unixNano = /^\d{1,14}$/.test(text.trim()) ? BigInt(text) * NS_PER_MS : parseIso(text.trim());
  return unixNano !== undefined && unixNano >= 0n && unixNano <= MAX_UNIX_NANO ? { unixNano } : undefined;
}

/** To the nanosecond; without an offset it is UTC, without a time of day it is midnight. */
function parseIso(text: string): bigint | undefined {
  const match = ISO.exec(text);
  if (!match) return undefined;
  const [, date, minutes = '00:00', seconds = '00', fraction = '', offset = 'Z'] = match;
  const zone = offset.length === 5 ? `${offset.slice(0, 3)}:${offset.slice(3)}` : offset.toUpperCase();
  const milliseconds = Date.parse(`${date}T${minutes}:${seconds}${zone}`);
  if (Number.isNaN(milliseconds) || !existsOnCalendar(date)) return undefined;
  return BigInt(milliseconds) * NS_PER_MS + BigInt(fraction.padEnd(9, '0'));
}

/** Date.parse takes February 30 for March 2. */
function existsOnCalendar(date: string): boolean {
  return new Date(`${date}T00:00:00Z`).toISOString().startsWith(date);
}

/**
 * The half-open range [from, to).
 *
 * @param from missing: an hour before `to`
 * @param to missing: now
 * @throws AppError INVALID_ARGUMENT when it is empty
 */
export function resolveRange(
  from: TimeExpression | undefined,
  to: TimeExpression | undefined,
  nowMs: number,
): TimeRange {
  const nowNs = BigInt(nowMs) * NS_PER_MS;
  const resolve = (time: TimeExpression) =>
    'unixNano' in time ? time.unixNano : atLeast0(nowNs - time.beforeNowNs);
  const toNs = to ? resolve(to) : nowNs;
  const fromNs = from ? resolve(from) : atLeast0(toNs - HOUR_NS);
  if (fromNs < toNs) return { fromNs, toNs };
  throw new AppError('INVALID_ARGUMENT', 'from must be earlier than to (which is now unless it is given).', {
    details: [{ field: 'from', given: isoOf(fromNs), allowed: `before ${isoOf(toNs)}` }],
  });
}

const atLeast0 = (ns: bigint) => (ns > 0n ? ns : 0n);
const isoOf = (ns: bigint) => new Date(Number(ns / NS_PER_MS)).toISOString();

/** Everything that can be kept; rows lie at most an hour ahead of the clock. */
export function allTime(nowMs: number): TimeRange {
  return { fromNs: 0n, toNs: BigInt(nowMs) * NS_PER_MS + 24n * HOUR_NS };
}
