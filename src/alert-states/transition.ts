/**
 * What becomes of an alert from one evaluation to the next: functions of the rule, what was measured, the state before and the time.
 * Each level of a group goes its own way, inactive -> pending -> firing -> inactive, as an alert of Prometheus does
 * (`for`, `keep_firing_for`); where what was measured says nothing, it stays where it is.
 */

export const LEVELS = ['warning', 'critical'] as const;
export type Level = (typeof LEVELS)[number];

export const OPERATORS = ['>', '>=', '<', '<=', '==', '!='] as const;
export type Operator = (typeof OPERATORS)[number];

export const NO_DATA = ['ok', 'alert', 'keep'] as const;

/** What of a rule decides. Times are milliseconds. */
export interface Condition {
  operator: Operator;
  /** null: there is no such level. */
  warning: number | null;
  critical: number | null;
  /** It fires when there is no data, and for nothing else. */
  absent: boolean;
  /** What missing data does to a group that does not fire: it is fine, it counts as a breach, or it changes nothing. */
  noData: (typeof NO_DATA)[number];
  /** The level that missing data counts as, where it does. */
  missingLevel: Level;
  forMs: number;
  keepFiringMs: number;
  intervalMs: number;
}

/** `missing`: the question was answered, and there is nothing of this group in it. `failed`: it was not answered. */
export type Measurement = number | 'missing' | 'failed';

/** A level that is pending or firing. */
export interface LevelState {
  /** When its condition first held. */
  sinceMs: number;
  firing: boolean;
  /** Firing, though its condition no longer holds: since when. */
  clearMs: number | null;
}

export interface GroupState {
  warning: LevelState | null;
  critical: LevelState | null;
  /** What was measured last; null: there was nothing. */
  value: number | null;
  /** The last time that it was known whether the condition holds. */
  knownMs: number;
  /** The last time that there was data; null: never. */
  seenMs: number | null;
  /** It fires and its data no longer comes: since when. */
  goneMs: number | null;
}

/** After more missed ticks than this nobody knows what was between: what is pending has to hold anew. */
const MAX_MISSED_TICKS = 3;

/** What becomes of a group at a tick. @param before undefined: nothing was known of it */
export function transition(
  condition: Condition,
  measured: Measurement,
  before: GroupState | undefined,
  tickMs: number,
): GroupState {
  const isKnown = typeof measured === 'number' || (measured === 'missing' && missingMeans(condition, before));
  const hasGap =
    before !== undefined && tickMs - before.knownMs > (MAX_MISSED_TICKS + 1) * condition.intervalMs;
  const level = (name: Level) => {
    const was = before?.[name] ?? null;
    const holds = doesHold(condition, name, measured, was);
    return nextLevel(condition, hasGap ? unsure(was, tickMs) : was, holds, tickMs);
  };
  const next = {
    warning: level('warning'),
    critical: level('critical'),
    value: typeof measured === 'number' ? measured : measured === 'missing' ? null : (before?.value ?? null),
    knownMs: isKnown || before === undefined ? tickMs : before.knownMs,
    seenMs: typeof measured === 'number' ? tickMs : (before?.seenMs ?? null),
  };
  return { ...next, goneMs: goneSince(condition, measured, before, next, tickMs) };
}

/**
 * Data that is missing may have been sent while nobody was there to take it: of a group that was known before, nothing is known then.
 *
 * @param window what was looked at begins at `fromMs`; `upSinceMs`: this program was not there before
 */
export function unlessAway(
  measured: Measurement,
  before: Pick<GroupState, 'knownMs'> | undefined,
  { fromMs, upSinceMs }: { fromMs: number; upSinceMs: number },
): Measurement {
  const isOfBefore = before !== undefined && before.knownMs < upSinceMs;
  return measured === 'missing' && isOfBefore && fromMs < upSinceMs ? 'failed' : measured;
}

/** The highest level that fires. */
export function levelOf(state: Pick<GroupState, Level> | undefined): Level | undefined {
  if (state?.critical?.firing) return 'critical';
  return state?.warning?.firing ? 'warning' : undefined;
}

export type Phase = 'inactive' | 'pending' | 'firing';

export function phaseOf(state: Pick<GroupState, Level> | undefined): Phase {
  if (levelOf(state)) return 'firing';
  return state?.warning || state?.critical ? 'pending' : 'inactive';
}

/** Whether missing data says how a group is. */
const missingMeans = ({ absent, noData }: Condition, before: GroupState | undefined) =>
  absent || (noData !== 'keep' && !levelOf(before));

/** @returns undefined when nobody knows */
function doesHold(
  condition: Condition,
  level: Level,
  measured: Measurement,
  was: LevelState | null,
): boolean | undefined {
  const { absent, noData, missingLevel, operator } = condition;
  if (measured === 'failed') return undefined;
  if (measured === 'missing') {
    if ((absent || noData === 'alert') && level === missingLevel) return true;
    // An outage never resolves its own alert.
    if (was?.firing && !absent) return undefined;
    return noData === 'keep' && !absent ? undefined : false;
  }
  const threshold = condition[level];
  return !absent && threshold !== null && breaches(measured, operator, threshold);
}

export function breaches(value: number, operator: Operator, threshold: number): boolean {
  switch (operator) {
    case '>':
      return value > threshold;
    case '>=':
      return value >= threshold;
    case '<':
      return value < threshold;
    case '<=':
      return value <= threshold;
    case '==':
      return value === threshold;
    case '!=':
      return value !== threshold;
  }
}

function nextLevel(
  { forMs, keepFiringMs }: Condition,
  was: LevelState | null,
  holds: boolean | undefined,
  tickMs: number,
): LevelState | null {
  if (holds === undefined) return was;
  if (holds) {
    const sinceMs = was?.sinceMs ?? tickMs;
    return { sinceMs, firing: was?.firing === true || tickMs - sinceMs >= forMs, clearMs: null };
  }
  if (!was?.firing) return null;
  const clearMs = was.clearMs ?? tickMs;
  return tickMs - clearMs < keepFiringMs ? { ...was, clearMs } : null;
}

/** After a gap: what fires goes on, but neither its breach nor its recovery is known to have lasted. */
function unsure(was: LevelState | null, tickMs: number): LevelState | null {
  if (was === null) return null;
  return was.firing ? { ...was, clearMs: was.clearMs === null ? null : tickMs } : { ...was, sinceMs: tickMs };
}

function goneSince(
  { absent }: Condition,
  measured: Measurement,
  before: GroupState | undefined,
  next: Pick<GroupState, Level>,
  tickMs: number,
): number | null {
  if (absent || typeof measured === 'number' || !before || !levelOf(next)) return null;
  if (before.goneMs !== null || measured === 'failed') return before.goneMs;
  // What fires because there is no data has none to lose.
  return levelOf(before) && before.value !== null ? tickMs : null;
}

/** Whether a rule can be evaluated. */
export interface Health {
  failingMs: number | null;
  /** That it fails was told, and so has to be taken back. */
  told: boolean;
}

/** A fault that passes is not worth a message. */
export const TELL_FAILING_AFTER_MS = 300_000;

/** @returns with what is to be told now */
export function nextHealth(
  before: Health,
  failed: boolean,
  tickMs: number,
): { health: Health; tell: 'error' | 'resolved' | undefined } {
  if (!failed)
    return { health: { failingMs: null, told: false }, tell: before.told ? 'resolved' : undefined };
  const failingMs = before.failingMs ?? tickMs;
  const tellsNow = !before.told && tickMs - failingMs >= TELL_FAILING_AFTER_MS;
  return { health: { failingMs, told: before.told || tellsNow }, tell: tellsNow ? 'error' : undefined };
}
