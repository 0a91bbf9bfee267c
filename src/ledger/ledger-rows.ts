import type { ClickHouse } from '../connections/clickhouse.js';
import { quoteString } from '../connections/clickhouse-statement.js';
import type { Scope } from '../edge/scope.js';
import type { IngestBatch, Rejections } from '../queue/ingest-queue.js';
import type { Signal } from '../signal.js';

/**
 * What becomes of items. `received`: acknowledged, the good and the rejected ones. Of these, each is then one of the others:
 * `stored`; `rejected`, with its reason; `dropped` by hand out of the failed set. Of the stored ones `expired` are gone again, by
 * retention. What waits or has failed is in the queue and not here.
 */
export type LedgerOutcome = 'received' | 'stored' | 'rejected' | 'dropped' | 'expired';

/** So many items of one tenant and signal that arrived in one minute. */
export interface LedgerRow {
  scope: Scope;
  signal: Signal;
  /** When they arrived, any time in the minute; of expired ones, the time they bear. Unix milliseconds. */
  atMs: number;
  outcome: LedgerOutcome;
  /** Code of the reason; '' where there is none to tell. */
  reason: string;
  items: number;
}

/** Rows and what wrote them. */
export interface LedgerEntry {
  /** Unique for ever; whoever repeats it repeats the same rows. */
  token: string;
  rows: readonly LedgerRow[];
}

const MINUTE_MS = 60_000;
const COLUMNS = 'organization_id, workspace_id, tenant_id, signal, minute, outcome, reason, token, items';
/** Small enough for any server's limit on a query's length. */
const ROWS_PER_INSERT = 1000;

export const minuteOf = (ms: number) => ms - (ms % MINUTE_MS);

/**
 * Writes into the ledger, durably. The same rows with the same token again change nothing, also after a crash, in any order
 * and from any process.
 *
 * @throws isRetryable() tells whether the same may succeed later
 */
export function recordLedger(
  clickhouse: ClickHouse,
  rows: readonly LedgerRow[],
  token: string,
): Promise<void> {
  return recordEntries(clickhouse, [{ token, rows }]);
}

/** The same for several entries in as few inserts as can be: an insert costs as much as a thousand of its rows. */
export async function recordEntries(clickhouse: ClickHouse, entries: readonly LedgerEntry[]): Promise<void> {
  const values = entries.flatMap(({ token, rows }) => sumRows(rows).map((row) => valuesOf(row, token)));
  for (let at = 0; at < values.length; at += ROWS_PER_INSERT) {
    const some = values.slice(at, at + ROWS_PER_INSERT).join(', ');
    await clickhouse.insertValues(`INSERT INTO ledger (${COLUMNS}) SETTINGS async_insert = 0 VALUES ${some}`);
  }
}

function valuesOf({ scope, signal, atMs, outcome, reason, items }: LedgerRow, token: string): string {
  const { organizationId, workspaceId, tenantId } = scope;
  const [seconds, ...texts] = [minuteOf(atMs) / 1000, outcome, reason, token];
  const owner = [organizationId, workspaceId, tenantId, signal].map(quoteString).join(', ');
  return `(${owner}, ${seconds}, ${texts.map((text) => quoteString(String(text))).join(', ')}, ${items})`;
}

/** Rows that differ in nothing but their number, as one: of two with the same key the table keeps one. */
function sumRows(rows: readonly LedgerRow[]): LedgerRow[] {
  const sums = new Map<string, LedgerRow>();
  for (const row of rows) addRow(sums, row);
  return [...sums.values()].filter(({ items }) => items !== 0);
}

/** Adds to the row that differs in nothing but its number, or as a new one. */
export function addRow(sums: Map<string, LedgerRow>, row: LedgerRow): void {
  const { scope, signal, outcome, reason } = row;
  const { organizationId, workspaceId, tenantId } = scope;
  const atMs = minuteOf(row.atMs);
  const key = JSON.stringify([organizationId, workspaceId, tenantId, signal, atMs, outcome, reason]);
  const sum = sums.get(key);
  if (sum) sum.items += row.items;
  else sums.set(key, { ...row, atMs });
}

/**
 * What a stored batch is in the ledger: what came in was counted before it was acknowledged and has waited in the queue since;
 * what is stored is what the INSERT held. Where the two differ it shows, in the latest minute of the batch.
 *
 * @param stored rows of the batch's INSERT
 */
export function rowsOfBatch({ scope, signal, entries, items }: IngestBatch, stored: number): LedgerRow[] {
  const itemsIn = new Map<number, number>();
  const rows: LedgerRow[] = [];
  for (const { receivedAtMs, items, reasons } of entries) {
    const atMs = minuteOf(receivedAtMs);
    itemsIn.set(atMs, (itemsIn.get(atMs) ?? 0) + items);
    if (reasons) rows.push(...rejectedRows({ scope, signal, atMs }, reasons));
  }
  const at = { scope, signal, reason: '' };
  for (const [atMs, items] of itemsIn)
    rows.push({ ...at, atMs, outcome: 'received', items }, { ...at, atMs, outcome: 'stored', items });
  rows.push({ ...at, atMs: Math.max(...itemsIn.keys()), outcome: 'stored', items: stored - items });
  return rows;
}

/** Both sides of what was refused: it came in, and why it went no further. */
export function rejectedRows(
  at: Pick<LedgerRow, 'scope' | 'signal' | 'atMs'>,
  reasons: Rejections = {},
): LedgerRow[] {
  const { scope, signal, atMs } = at;
  return Object.entries(reasons).flatMap(([reason, items]): LedgerRow[] => [
    { scope, signal, atMs, outcome: 'received', reason: '', items },
    { scope, signal, atMs, outcome: 'rejected', reason, items },
  ]);
}
