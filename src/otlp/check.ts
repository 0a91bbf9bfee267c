import type { Signal } from '../signal.js';
import { CheckWalk } from './check-walk.js';
import { describeRejections, type RejectionReason, VERDICTS } from './item-rules.js';
import type { TimeWindow } from './time-window.js';

export type { RejectionReason, TimeWindow };

export interface CheckResult {
  /** Spans, log records or data points found. */
  items: number;
  /** How many of them will not become rows. */
  rejected: number;
  /** Why, each kind of reason once. */
  reasons: RejectionReason[];
  /** Strings that are not UTF-8; they are stored with U+FFFD in place of the bad bytes. */
  invalidUtf8: number;
}

const ROOTS: Readonly<Record<Signal, string>> = {
  traces: 'TracesRequest',
  logs: 'LogsRequest',
  metrics: 'MetricsRequest',
};
const walk = new CheckWalk();

/**
 * Checks an OTLP export request in one pass: decodable, and which items will be rejected. What it accepts the
 * transcoder accepts, with the same items rejected.
 *
 * @param body Export{Trace,Logs,Metrics}ServiceRequest as protobuf
 * @throws AppError MALFORMED_BODY saying what, in which field and at which byte; BODY_TOO_LARGE when attributes that are
 *   repeated for many items would take too much memory
 */
export function checkBody(signal: Signal, body: Uint8Array, window: TimeWindow): CheckResult {
  const { ledger } = walk;
  ledger.bounds.set(window);
  // A plain Uint8Array over the same memory, so that the walk sees one kind of array whatever the caller has.
  walk.run(new Uint8Array(body.buffer, body.byteOffset, body.byteLength), ROOTS[signal]);
  const { counts } = ledger;
  let rejected = 0;
  for (let verdict = 1; verdict < VERDICTS; verdict++) rejected += counts[verdict];
  const reasons = rejected === 0 ? [] : describeRejections(counts, window);
  return { items: counts[0], rejected, reasons, invalidUtf8: walk.invalidUtf8 };
}
