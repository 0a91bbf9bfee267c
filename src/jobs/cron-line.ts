import { type CronExpression, CronExpressionParser } from 'cron-parser';
import { AppError } from '../errors.js';

/** The ticks of a cron line, in UTC. Times in ms since 1970. */
export class CronLine {
  private readonly expression: CronExpression;
  /** Between these two nothing happens: what was found last, because it is asked for every second. */
  private tickMs = Number.POSITIVE_INFINITY;
  private nextMs = Number.NEGATIVE_INFINITY;

  /** @throws AppError INVALID_ARGUMENT, naming what is wrong */
  constructor(text: string) {
    const fields = text.trim().split(/\s+/);
    // The parser fills missing fields up, knows names for whole lines, and draws lots for H.
    if (fields.length < 5 || fields.length > 6 || fields.some((field) => /^H|[,/-]H/.test(field)))
      throw badLine(text, `expected five or six fields, got ${JSON.stringify(fields.join(' '))}`);
    try {
      this.expression = CronExpressionParser.parse(fields.join(' '), { tz: 'UTC' });
      // Some lines parse and never come.
      this.expression.next();
    } catch (error) {
      throw badLine(text, (error as Error).message);
    }
  }

  /** The last tick at or before that time. */
  lastAt(ms: number): number {
    this.look(ms);
    return this.tickMs;
  }

  /** The first tick after that time. */
  nextAfter(ms: number): number {
    this.look(ms);
    return this.nextMs;
  }

  private look(ms: number): void {
    if (this.tickMs <= ms && ms < this.nextMs) return;
    this.expression.reset(new Date(ms + 1));
    this.tickMs = this.expression.prev().getTime();
    this.expression.reset(new Date(ms));
    this.nextMs = this.expression.next().getTime();
  }
}

function badLine(text: string, problem: string): AppError {
  return new AppError('INVALID_ARGUMENT', `Bad cron line "${text}": ${problem}`, {
    details: { field: 'cron', given: text, allowed: 'five or six fields, seconds first, in UTC' },
  });
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
  const ranges = fired.map(([from, to]): TickRange => [from, to]);
  const extended = ranges.find(([from, to]) => from <= previousMs && previousMs <= to);
  if (extended) extended[1] = Math.max(extended[1], tickMs);
  else ranges.push([tickMs, tickMs]);
  ranges.sort((a, b) => a[0] - b[0]);
  // Two ranges meet when a clock that went back has come to where it was before.
  const joined: TickRange[] = [];
  for (const range of ranges) {
    const last = joined.at(-1);
    if (last && range[0] <= last[1]) last[1] = Math.max(last[1], range[1]);
    else joined.push(range);
  }
  return joined.slice(-MAX_RANGES);
}
