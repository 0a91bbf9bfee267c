import type { Scope } from '../edge/scope.js';
import type { Signal } from '../signal.js';
import { MAX_BATCH_ENTRIES, type TakeLimits } from './ingest-queue.js';
import type { StoredEntry } from './stored-entry.js';

/** One tenant's waiting entries of one signal, oldest first. */
export interface Lane {
  readonly scope: Scope;
  readonly entries: StoredEntry[];
  /** Entries before this one are taken; cut off from time to time. */
  head: number;
  bytes: number;
  items: number;
}

const MAX_TAKEN_KEPT = 1024;

/** The waiting entries of one signal, by tenant, in the order in which tenants have their turn. */
export class Lanes {
  private readonly lanes = new Map<string, Lane>();

  get isEmpty(): boolean {
    return this.lanes.size === 0;
  }

  /** Adds an entry behind its tenant's others and returns the lane. */
  add(entry: StoredEntry): Lane {
    const key = scopeKey(entry.scope);
    let lane = this.lanes.get(key);
    if (!lane) {
      lane = { scope: entry.scope, entries: [], head: 0, bytes: 0, items: 0 };
      this.lanes.set(key, lane);
    }
    lane.entries.push(entry);
    lane.bytes += entry.bodyBytes;
    lane.items += entry.items;
    return lane;
  }

  /**
   * Removes and returns the next batch: of the first tenant in turn whose entries reach a size or whose oldest is
   * old enough. The tenant then goes to the end of the turn. undefined when none is due.
   */
  take(limits: TakeLimits, nowMs: number): StoredEntry[] | undefined {
    for (const [key, lane] of this.lanes) {
      if (!isFull(lane, limits) && dueAtMs(lane, limits) > nowMs) continue;
      const entries = cut(lane, limits);
      this.lanes.delete(key);
      if (lane.head < lane.entries.length) this.lanes.set(key, lane);
      return entries;
    }
    return undefined;
  }

  /** When the first tenant becomes due by age, on the clock of `queuedAtMs`; Infinity when nothing waits. */
  nextDueAtMs(limits: TakeLimits): number {
    let next = Number.POSITIVE_INFINITY;
    for (const lane of this.lanes.values()) next = Math.min(next, dueAtMs(lane, limits));
    return next;
  }

  *[Symbol.iterator](): Generator<Lane> {
    yield* this.lanes.values();
  }
}

export function isFull(lane: Lane, limits: TakeLimits): boolean {
  const count = lane.entries.length - lane.head;
  return lane.bytes >= limits.maxBytes || lane.items >= limits.maxItems || count >= MAX_BATCH_ENTRIES;
}

function dueAtMs(lane: Lane, limits: TakeLimits): number {
  return lane.entries[lane.head].queuedAtMs + limits.maxAgeMs;
}

function cut(lane: Lane, limits: TakeLimits): StoredEntry[] {
  let end = lane.head;
  let bytes = 0;
  let items = 0;
  do {
    bytes += lane.entries[end].bodyBytes;
    items += lane.entries[end].items;
    end++;
  } while (
    end < lane.entries.length &&
    end - lane.head < MAX_BATCH_ENTRIES &&
    bytes + lane.entries[end].bodyBytes <= limits.maxBytes &&
    items + lane.entries[end].items <= limits.maxItems
  );
  const entries = lane.entries.slice(lane.head, end);
  lane.head = end;
  lane.bytes -= bytes;
  lane.items -= items;
  if (lane.head > MAX_TAKEN_KEPT && lane.head * 2 > lane.entries.length) {
    lane.entries.splice(0, lane.head);
    lane.head = 0;
  }
  return entries;
}

/** One string per signal and tenant. */
export function ownerKey(signal: Signal, scope: Scope): string {
  return signal + scopeKey(scope);
}

/** One string per tenant, whatever characters its ids have. */
function scopeKey({ organizationId, workspaceId, tenantId }: Scope): string {
  return `${organizationId.length}:${organizationId}${workspaceId.length}:${workspaceId}${tenantId}`;
}
