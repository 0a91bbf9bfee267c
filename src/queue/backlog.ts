import type { BodyPool } from '../memory/body-pool.js';
import { SIGNALS, type Signal } from '../signal.js';
import type { WaitingLane, WaitingMinute } from './ingest-queue.js';
import { Lanes, ownerKey } from './lanes.js';
import { type Batch, costOf, type StoredEntry } from './stored-entry.js';

const MINUTE_MS = 60_000;

interface MinuteSum {
  entries: number;
  items: number;
  reasons: Record<string, number>;
}

/** What waits in memory's view: lanes of entries, planned batches, and the sums over both. */
export class Backlog {
  readonly lanes: Readonly<Record<Signal, Lanes>> = {
    traces: new Lanes(),
    logs: new Lanes(),
    metrics: new Lanes(),
  };
  readonly batches = new Map<string, Batch>();
  /** Planned batches that nobody holds, in the order in which they are given out. */
  readonly ready: Readonly<Record<Signal, Batch[]>> = { traces: [], logs: [], metrics: [] };
  /** Bytes that count against the limit; entries that are not durable yet included. */
  costBytes = 0;
  waitingBytes = 0;
  waitingEntries = 0;
  readonly waitingItems: Record<Signal, number> = { traces: 0, logs: 0, metrics: 0 };
  /** Bodies in memory. */
  memoryBytes = 0;
  /** By owner and minute of receipt. */
  private readonly minutes = new Map<string, Map<number, MinuteSum>>();

  constructor(
    private readonly maxMemoryBytes: number,
    private readonly bodies: BodyPool,
  ) {}

  /** Counts a durable entry; its body stays in memory if there is room. The caller counts the cost. */
  count(entry: StoredEntry): void {
    this.waitingBytes += entry.bodyBytes;
    this.waitingEntries++;
    this.waitingItems[entry.signal] += entry.items;
    this.sum(entry, 1);
    if (!entry.body) return;
    if (this.memoryBytes + entry.bodyBytes > this.maxMemoryBytes) {
      this.bodies.give(entry.body);
      entry.body = undefined;
      return;
    }
    this.memoryBytes += entry.bodyBytes;
  }

  /** Takes the body out of memory, to be given back by the caller; undefined when it is only on disk. */
  takeBody(entry: StoredEntry): Uint8Array | undefined {
    const body = entry.body;
    if (body) this.memoryBytes -= entry.bodyBytes;
    entry.body = undefined;
    return body;
  }

  /** Forgets a batch that is done, failed or replaced by others; `isOver`: its entries are not waiting any more. */
  remove(batch: Batch, isOver: boolean): void {
    batch.holder = undefined;
    this.batches.delete(batch.id);
    if (!isOver) return;
    for (const entry of batch.entries) {
      const body = this.takeBody(entry);
      if (body) this.bodies.give(body);
      this.costBytes -= costOf(entry.bodyBytes);
      this.waitingBytes -= entry.bodyBytes;
      this.waitingEntries--;
      this.waitingItems[entry.signal] -= entry.items;
      this.sum(entry, -1);
    }
  }

  private sum({ signal, scope, receivedAtMs, items, reasons }: StoredEntry, sign: 1 | -1): void {
    const owner = ownerKey(signal, scope);
    const minuteMs = receivedAtMs - (receivedAtMs % MINUTE_MS);
    const minutes = this.minutes.get(owner) ?? new Map<number, MinuteSum>();
    const sum = minutes.get(minuteMs) ?? { entries: 0, items: 0, reasons: {} };
    sum.entries += sign;
    sum.items += sign * items;
    for (const [code, count] of Object.entries(reasons ?? {}))
      sum.reasons[code] = (sum.reasons[code] ?? 0) + sign * count;
    if (sum.entries > 0) minutes.set(minuteMs, sum);
    else minutes.delete(minuteMs);
    if (minutes.size > 0) this.minutes.set(owner, minutes);
    else this.minutes.delete(owner);
  }

  private minutesOf(owner: string): WaitingMinute[] {
    return [...(this.minutes.get(owner) ?? [])].map(([minuteMs, { items, reasons }]) => ({
      minuteMs,
      items,
      reasons: { ...reasons },
    }));
  }

  /** The first planned batch that is due, taken off the list. */
  nextReady(signal: Signal, nowMs: number): Batch | undefined {
    const ready = this.ready[signal];
    const at = ready.findIndex((batch) => batch.dueAtMs <= nowMs);
    return at < 0 ? undefined : ready.splice(at, 1)[0];
  }

  /** When the next planned batch is due, monotonic clock; Infinity when there is none. */
  nextReadyAtMs(signal: Signal): number {
    return this.ready[signal].reduce(
      (next, batch) => Math.min(next, batch.dueAtMs),
      Number.POSITIVE_INFINITY,
    );
  }

  oldestAddedAtMs(): number {
    let oldest = Number.POSITIVE_INFINITY;
    for (const { entries } of this.groups()) oldest = Math.min(oldest, entries[0].addedAtMs);
    return oldest;
  }

  waiting(nowMs: number): WaitingLane[] {
    const sums = new Map<string, WaitingLane>();
    for (const { signal, scope, entries, items, bytes } of this.groups()) {
      const key = ownerKey(signal, scope);
      const sum = sums.get(key) ?? {
        ...{ signal, scope, items: 0, bytes: 0, oldestMs: 0 },
        minutes: this.minutesOf(key),
      };
      sum.items += items;
      sum.bytes += bytes;
      sum.oldestMs = Math.max(sum.oldestMs, nowMs - entries[0].addedAtMs);
      sums.set(key, sum);
    }
    return [...sums.values()];
  }

  private *groups() {
    for (const signal of SIGNALS) {
      for (const { scope, entries, head, items, bytes } of this.lanes[signal]) {
        yield { signal, scope, entries: [entries[head]], items, bytes };
      }
    }
    for (const batch of this.batches.values()) yield { ...batch, ...sumOf(batch.entries) };
  }
}

export function sumOf(entries: readonly StoredEntry[]): { items: number; bytes: number } {
  let items = 0;
  let bytes = 0;
  for (const entry of entries) {
    items += entry.items;
    bytes += entry.bodyBytes;
  }
  return { items, bytes };
}
