import type { Scope } from '../edge/scope.js';
import type { TimeRange } from '../http/time.js';
import type { FailedEntry, Rejections, WaitingLane } from '../queue/ingest-queue.js';
import { SIGNALS, type Signal } from '../signal.js';
import type { LedgerOutcome, LedgerRow } from './ledger-rows.js';

/** Where the items of one signal are. `difference` is what is missing: 0, or something was lost or counted wrong. */
export interface SignalBalance {
  signal: Signal;
  received: number;
  stored: number;
  rejected: { reason: string; items: number }[];
  waiting: number;
  failed: number;
  expired: number;
  dropped: number;
  oldest_waiting_ms: number | null;
  balanced: boolean;
  difference: number;
}

/** Sums of the ledger's table. */
export type LedgerSum = Pick<LedgerRow, 'outcome' | 'reason' | 'items'> & { signal: Signal };

/** What is not in the table: it waits or has failed, or is not written yet. */
export interface LedgerRest {
  waiting: readonly WaitingLane[];
  failed: readonly FailedEntry[];
  unwritten: readonly LedgerRow[];
}

/** Whole minutes, half-open, Unix milliseconds: what the ledger can tell apart. */
export interface Minutes {
  fromMs: number;
  toMs: number;
}

const MINUTE_NS = 60_000_000_000n;
/** The last minute that fits into 32 bits of seconds. */
const LAST_MS = 4_294_967_280_000;

/** The minutes that a range touches. */
export function minutesIn({ fromNs, toNs }: TimeRange): Minutes {
  const toMs = (minute: bigint) => Math.min(Number(minute) * 60_000, LAST_MS);
  return { fromMs: toMs(fromNs / MINUTE_NS), toMs: toMs((toNs + MINUTE_NS - 1n) / MINUTE_NS) };
}

type Figures = Record<LedgerOutcome | 'waiting' | 'failed', number>;

class Account {
  readonly figures: Figures = {
    received: 0,
    stored: 0,
    rejected: 0,
    dropped: 0,
    expired: 0,
    waiting: 0,
    failed: 0,
  };
  readonly rejected = new Map<string, number>();
  oldestMs: number | null = null;

  add(figure: keyof Figures, items: number): void {
    this.figures[figure] += items;
  }

  reject(reason: string, items: number): void {
    this.add('rejected', items);
    this.rejected.set(reason, (this.rejected.get(reason) ?? 0) + items);
  }

  /** A request in the queue: acknowledged, so received with all that it had. */
  inQueue(where: 'waiting' | 'failed' | 'dropped', items: number, reasons: Rejections = {}): void {
    this.add('received', items);
    this.add(where, items);
    for (const [reason, count] of Object.entries(reasons)) {
      this.add('received', count);
      this.reject(reason, count);
    }
  }
}

/**
 * The accounts of one tenant (or, without one, of all), one per signal that has anything in it. Both sides come from different
 * counts: what was received from the check before the acknowledgement, what is stored from the blocks that were inserted.
 */
export function balance(
  scope: Scope | undefined,
  minutes: Minutes,
  sums: readonly LedgerSum[],
  rest: LedgerRest,
): SignalBalance[] {
  const accounts = new Map<Signal, Account>(SIGNALS.map((signal) => [signal, new Account()]));
  const isAsked = (owner: Scope) => scope === undefined || isSame(owner, scope);
  const isIn = (ms: number) => ms >= minutes.fromMs && ms < minutes.toMs;
  const unwritten = rest.unwritten.filter((row) => isAsked(row.scope) && isIn(row.atMs));
  for (const { signal, outcome, reason, items } of [...sums, ...unwritten]) {
    const account = accounts.get(signal)!;
    if (outcome === 'rejected') account.reject(reason, items);
    else account.add(outcome, items);
  }
  for (const lane of rest.waiting.filter((one) => isAsked(one.scope))) {
    const account = accounts.get(lane.signal)!;
    const waiting = lane.minutes.filter(({ minuteMs }) => isIn(minuteMs));
    for (const { items, reasons } of waiting) account.inQueue('waiting', items, reasons);
    if (waiting.length > 0) account.oldestMs = Math.max(0, Math.round(lane.oldestMs));
  }
  for (const entry of rest.failed.filter((one) => isAsked(one.scope) && isIn(one.receivedAtMs)))
    accounts.get(entry.signal)!.inQueue(entry.isDiscarded ? 'dropped' : 'failed', entry.items, entry.reasons);
  return [...accounts].filter(([, { figures }]) => Object.values(figures).some(Boolean)).map(balanceOf);
}

function balanceOf([signal, { figures, rejected, oldestMs }]: [Signal, Account]): SignalBalance {
  const { received, waiting, failed, dropped, expired } = figures;
  // What retention has dropped was stored before: the ledger's own figure is of all that ever was.
  const difference = received - figures.stored - figures.rejected - waiting - failed - dropped;
  return {
    signal,
    received,
    stored: figures.stored - expired,
    rejected: [...rejected].map(([reason, items]) => ({ reason, items })).sort((a, b) => b.items - a.items),
    waiting,
    failed,
    expired,
    dropped,
    oldest_waiting_ms: oldestMs,
    balanced: difference === 0,
    difference,
  };
}

const isSame = (a: Scope, b: Scope) =>
  a.tenantId === b.tenantId && a.workspaceId === b.workspaceId && a.organizationId === b.organizationId;
