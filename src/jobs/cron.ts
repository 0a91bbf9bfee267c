import { CronExpressionParser } from 'cron-parser';
import { AppError } from '../errors.js';

/** With fewer, the parser would fill in what is missing at the front, and mean something else than was written. */
const FIELDS = [5, 6];

function parse(cron: string, currentDate: number) {
  return CronExpressionParser.parse(cron, { tz: 'UTC', currentDate });
}

/**
 * Checks a cron line: five or six fields (seconds first), that have a tick to come.
 *
 * @throws AppError INVALID_ARGUMENT naming what is wrong
 */
export function checkCron(cron: string, nowMs: number): void {
  const refuse = (reason: string): never => {
    throw new AppError('INVALID_ARGUMENT', `cron "${cron}": ${reason}`, { details: { field: 'cron' } });
  };
  const fields = cron.trim().split(/\s+/);
  if (!FIELDS.includes(fields.length))
    refuse('expected five fields (minute hour day month weekday) or six (second first)');
  try {
    parse(cron, nowMs).next();
  } catch (error) {
    refuse((error as Error).message);
  }
}

/** The first tick after a point in time (ms since 1970, UTC). */
export function tickAfter(cron: string, timeMs: number): number {
  return parse(cron, timeMs).next().getTime();
}

/** The last tick at or before a point in time. */
export function tickUntil(cron: string, timeMs: number): number {
  return parse(cron, timeMs + 1)
    .prev()
    .getTime();
}
