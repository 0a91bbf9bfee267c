import { Gauge, type Registry } from 'prom-client';
import { resolveRange } from '../http/time.js';
import type { Ledger } from './ledger.js';
import type { SignalBalance } from './ledger-balance.js';

/** Several scrapers cost no more than one. */
const KEPT_MS = 10_000;

const OUTCOMES = ['received', 'stored', 'waiting', 'failed', 'expired', 'dropped'] as const;

/** The ledger of the last hour, all tenants together, at /metrics; no figures while the store is away. */
export function registerLedgerMetrics(registry: Registry, ledger: Pick<Ledger, 'readAll'>): void {
  let kept: { atMs: number; balances: Promise<SignalBalance[]> } | undefined;
  const balances = (): Promise<SignalBalance[]> => {
    const nowMs = Date.now();
    if (!kept || nowMs - kept.atMs > KEPT_MS) {
      const range = resolveRange(undefined, undefined, nowMs);
      kept = { atMs: nowMs, balances: ledger.readAll(range).catch(() => []) };
    }
    return kept.balances;
  };
  new Gauge({
    name: 'telemetryflow_ledger_items',
    help: 'Items received in the last hour, by what became of them.',
    labelNames: ['signal', 'outcome'],
    registers: [registry],
    async collect() {
      const all = await balances();
      this.reset();
      for (const { signal, rejected, ...figures } of all) {
        for (const outcome of OUTCOMES) this.set({ signal, outcome }, figures[outcome]);
        const refused = rejected.reduce((sum, { items }) => sum + items, 0);
        this.set({ signal, outcome: 'rejected' }, refused);
      }
    },
  });
  new Gauge({
    name: 'telemetryflow_ledger_difference_items',
    help: 'Items received in the last hour of which nobody knows where they are; 0 unless something is wrong.',
    labelNames: ['signal'],
    registers: [registry],
    async collect() {
      const all = await balances();
      this.reset();
      for (const { signal, difference } of all) this.set({ signal }, difference);
    },
  });
}
