import { tickAfter, tickUntil } from '../jobs/cron.js';

/** The ticks of a cron line, remembering what was found last: it is asked for every second. Times in ms since 1970. */
export class Ticks {
  private lastMs = Number.POSITIVE_INFINITY;
  private nextMs = Number.NEGATIVE_INFINITY;

  /** @param cron a line that was checked */
  constructor(readonly cron: string) {}

  /** The last tick at or before that time. */
  until(ms: number): number {
    this.look(ms);
    return this.lastMs;
  }

  /** The first tick after that time. */
  after(ms: number): number {
    this.look(ms);
    return this.nextMs;
  }

  private look(ms: number): void {
    if (this.lastMs <= ms && ms < this.nextMs) return;
    this.lastMs = tickUntil(this.cron, ms);
    this.nextMs = tickAfter(this.cron, ms);
  }
}

/** Ticks that were added one after the other, the first and the last of them. */
export type TickRange = [from: number, to: number];

const MAX_RANGES = 8;

export function isFired(fired: readonly TickRange[], tickMs: number): boolean {
  return fired.some(([from, to]) => from <= tickMs && tickMs <= to);
}

/**
 * The ranges after one more tick was added. Ranges and not the last tick alone, because of clocks that jump: one that
 * was a year ahead for a minute must not silence a repetition for a year, and one that is put back by an hour must not
 * bring that hour's jobs again.
 *
 * @param previousMs the tick before it: if that was added too, they belong together
 */
export function withFired(fired: readonly TickRange[], tickMs: number, previousMs: number): TickRange[] {
  const extended = fired.find(([from, to]) => from <= previousMs && previousMs <= to);
  return joined([...fired, [extended ? extended[0] : tickMs, tickMs]]);
}

/** The ticks of both. */
export function joined(ranges: readonly TickRange[]): TickRange[] {
  const result: TickRange[] = [];
  for (const [from, to] of [...ranges].sort((a, b) => a[0] - b[0])) {
    const last = result.at(-1);
    if (last && from <= last[1]) last[1] = Math.max(last[1], to);
    else result.push([from, to]);
  }
  return result.slice(-MAX_RANGES);
}
