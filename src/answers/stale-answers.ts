import type { CacheService } from '../cache/cache.service.js';
import { keysUnder } from '../cache/cache-key.js';
import type { Scope } from '../edge/scope.js';
import type { Signal } from '../signal.js';
import { COARSE, groupsChanged, KINDS_OF_SIGNAL, type RowTimes, type TimeGroup } from './time-groups.js';

/** The same group is dropped at most this often; the last one always is. */
export const GAP_MS = 250;
/** Rows from further ahead are seen when the question's stretch of time ends. */
const MAX_AHEAD_MS = 10_000;

/** Drops the answers that new rows may have changed, on all instances. */
export class StaleAnswers {
  /** Dropped a moment ago; again when rows came since. */
  private readonly recent = new Map<string, { isDueAgain: boolean; timer: NodeJS.Timeout }>();
  private readonly ahead = new Set<NodeJS.Timeout>();
  private readonly telling = new Set<Promise<void>>();

  constructor(private readonly cache: Pick<CacheService, 'delPattern'>) {}

  /** Of all tenants: an earlier process may have ended between storing rows and dropping answers. */
  dropAll(): void {
    const kinds = new Set(Object.values(KINDS_OF_SIGNAL).flat());
    for (const kind of kinds) this.tell(keysUnder(kind));
  }

  /** After rows were stored. Answers without them are given for 250 ms at most, those in long steps as `COARSE` says. */
  stored(scope: Scope, signal: Signal, times: RowTimes, nowMs: number): void {
    const groups = groupsChanged(times, nowMs);
    if (groups === undefined) {
      this.dropTenant(scope, signal);
      return;
    }
    for (const group of groups) this.dropGroup(scope, signal, group);
    if (signal === 'metrics') this.dropCoarse(scope);
    // A range up to now does not reach these rows yet, and will without any more of them being stored.
    const aheadMs = times.maxMs - nowMs;
    if (aheadMs > 0 && aheadMs <= MAX_AHEAD_MS) this.dropLater(scope, signal, aheadMs);
  }

  /** All of a tenant and signal: after rows of whatever times came or were deleted. */
  dropTenant(scope: Scope, signal: Signal): void {
    for (const kind of KINDS_OF_SIGNAL[signal]) this.drop(keysUnder(kind, scope), GAP_MS);
  }

  /** Drops what is due, and waits until that is told. */
  async close(): Promise<void> {
    for (const timer of this.ahead) clearTimeout(timer);
    for (const [pattern, { isDueAgain, timer }] of this.recent) {
      clearTimeout(timer);
      if (isDueAgain) this.tell(pattern);
    }
    this.recent.clear();
    await Promise.all(this.telling);
  }

  private dropGroup(scope: Scope, signal: Signal, group: TimeGroup): void {
    for (const kind of KINDS_OF_SIGNAL[signal]) this.drop(keysUnder(kind, scope, group), GAP_MS);
  }

  private dropCoarse(scope: Scope): void {
    for (const { group, gapMs } of COARSE) this.drop(keysUnder('metrics', scope, group), gapMs);
  }

  private dropLater(scope: Scope, signal: Signal, ms: number): void {
    const timer = setTimeout(() => {
      this.ahead.delete(timer);
      this.dropGroup(scope, signal, 'live');
      if (signal === 'metrics') this.dropCoarse(scope);
    }, ms).unref();
    this.ahead.add(timer);
  }

  private drop(pattern: string, gapMs: number): void {
    const recent = this.recent.get(pattern);
    if (recent) {
      recent.isDueAgain = true;
      return;
    }
    this.tell(pattern);
    const timer = setTimeout(() => {
      const { isDueAgain } = this.recent.get(pattern)!;
      this.recent.delete(pattern);
      if (isDueAgain) this.drop(pattern, gapMs);
    }, gapMs).unref();
    this.recent.set(pattern, { isDueAgain: false, timer });
  }

  private tell(pattern: string): void {
    const told = this.cache.delPattern(pattern).finally(() => this.telling.delete(told));
    this.telling.add(told);
  }
}
