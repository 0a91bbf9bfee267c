import { describeWindow, type TimeBounds, type TimeWindow } from './time-window.js';
import { MAX_VALUE_DEPTH } from './wire.js';

/**
 * Which items are rejected. The check pass and the transcoder both ask here, so what a client is told was accepted
 * is exactly what becomes rows.
 */

/** Verdicts on an item; 0 is accepted. Where several hold, the lowest is told. */
export const ACCEPTED = 0;
export const TOO_DEEP = 1;
export const BAD_TRACE_ID = 2;
export const BAD_SPAN_ID = 3;
export const BAD_PARENT_ID = 4;
export const BAD_LINK_ID = 5;
export const BAD_EXEMPLAR_ID = 6;
export const BAD_TIME = 7;
export const VERDICTS = 8;

/** Why items of a body were rejected: `code` for programs, `message` for people, `count` items. */
export interface RejectionReason {
  code: string;
  message: string;
  count: number;
}

const CODES = [
  '',
  'VALUE_TOO_DEEP',
  'INVALID_TRACE_ID',
  'INVALID_SPAN_ID',
  'INVALID_PARENT_SPAN_ID',
  'INVALID_LINK_ID',
  'INVALID_EXEMPLAR_ID',
  'TIME_OUT_OF_RANGE',
];
const MESSAGES = [
  '',
  `attribute values or bodies nested more than ${MAX_VALUE_DEPTH} levels deep`,
  'trace_id must be 16 bytes and, on spans, not all zero',
  'span_id must be 8 bytes and, on spans, not all zero',
  'parent_span_id must be 8 bytes or empty',
  'ids of span links must be 16 and 8 bytes or empty',
  'ids of exemplars must be 16 and 8 bytes or empty',
  'times must be within',
];

/** @param counts rejected items by verdict */
export function describeRejections(counts: Int32Array, window: TimeWindow): RejectionReason[] {
  const reasons: RejectionReason[] = [];
  for (let verdict = 1; verdict < VERDICTS; verdict++) {
    if (counts[verdict] === 0) continue;
    const message =
      verdict === BAD_TIME ? `${MESSAGES[verdict]} ${describeWindow(window)}` : MESSAGES[verdict];
    reasons.push({ code: CODES[verdict], message, count: counts[verdict] });
  }
  return reasons;
}

/** Whether an id that may be left out has the right length: `wanted` bytes or none. */
export function isOptionalId(length: number, wanted: number): boolean {
  return length === wanted || length === 0;
}

function isZero(view: DataView, at: number, length: number): boolean {
  let bits = 0;
  for (let i = 0; i < length; i += 4) bits |= view.getInt32(at + i, true);
  return bits === 0;
}

/** Whether the fixed64 at `timeAt` (negative: missing, which is zero) is a time in the window. */
export function isTimeAccepted(view: DataView, timeAt: number, bounds: TimeBounds): boolean {
  return timeAt >= 0 && bounds.includes(view.getUint32(timeAt, true), view.getUint32(timeAt + 4, true));
}

/** Verdict on a span's own ids and start time. Lengths in bytes; positions are where the values begin. */
export function judgeSpan(
  view: DataView,
  traceAt: number,
  traceLength: number,
  spanAt: number,
  spanLength: number,
  parentLength: number,
  timeAt: number,
  bounds: TimeBounds,
): number {
  if (traceLength !== 16 || isZero(view, traceAt, 16)) return BAD_TRACE_ID;
  if (spanLength !== 8 || isZero(view, spanAt, 8)) return BAD_SPAN_ID;
  if (!isOptionalId(parentLength, 8)) return BAD_PARENT_ID;
  return isTimeAccepted(view, timeAt, bounds) ? ACCEPTED : BAD_TIME;
}

/** What a log record's `timestamp` is taken from: numbers of the column `timestamp_source`. */
export const FROM_TIME = 0;
export const FROM_OBSERVED = 1;
export const FROM_RECEIVED = 2;

/** OTLP: "use time_unix_nano if it is present, else observed_time_unix_nano"; without both, when it arrived. */
export function logTimeSource(view: DataView, timeAt: number, observedAt: number): number {
  if (timeAt >= 0 && !isZero(view, timeAt, 8)) return FROM_TIME;
  return observedAt >= 0 && !isZero(view, observedAt, 8) ? FROM_OBSERVED : FROM_RECEIVED;
}

/** Verdict on a log record's own ids and time. Positions as in {@link isTimeAccepted}. */
export function judgeLog(
  view: DataView,
  traceLength: number,
  spanLength: number,
  timeAt: number,
  observedAt: number,
  bounds: TimeBounds,
): number {
  if (!isOptionalId(traceLength, 16)) return BAD_TRACE_ID;
  if (!isOptionalId(spanLength, 8)) return BAD_SPAN_ID;
  const source = logTimeSource(view, timeAt, observedAt);
  if (source === FROM_RECEIVED) return ACCEPTED;
  return isTimeAccepted(view, source === FROM_TIME ? timeAt : observedAt, bounds) ? ACCEPTED : BAD_TIME;
}
