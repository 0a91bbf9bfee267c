import type { Level } from './transition.js';

/** One condition on the labels of an incident. `*` in the value stands for anything. */
export interface Matcher {
  label: string;
  operator: '=' | '!=';
  value: string;
}

/** When and for what nobody is told. Times are Unix milliseconds. */
export interface Silence {
  /** All of them must hold; none: everything. */
  matchers: Matcher[];
  startsMs: number;
  endsMs: number;
  /** A maintenance window comes again at the same time (UTC) each day or week. */
  repeats: 'daily' | 'weekly' | null;
  /** Until then, where it comes again; null: for ever. */
  untilMs: number | null;
}

/** Whether a group, firing at this level, is not to be told. */
export type Silenced = (key: string, level: Level | undefined) => boolean;

const DAY_MS = 86_400_000;
const PERIOD_MS = { daily: DAY_MS, weekly: 7 * DAY_MS };

export function isActive({ startsMs, endsMs, repeats, untilMs }: Silence, nowMs: number): boolean {
  if (nowMs < startsMs) return false;
  if (repeats === null) return nowMs < endsMs;
  if (untilMs !== null && nowMs >= untilMs) return false;
  return (nowMs - startsMs) % PERIOD_MS[repeats] < endsMs - startsMs;
}

/** A label that is not there counts as empty. */
export function matches(matchers: readonly Matcher[], labels: Readonly<Record<string, string>>): boolean {
  return matchers.every(({ label, operator, value }) => {
    const given = Object.hasOwn(labels, label) ? labels[label] : '';
    return isLike(given, value) === (operator === '=');
  });
}

/** In linear time, whatever the pattern: a regular expression of somebody's could keep a worker for hours. */
function isLike(text: string, pattern: string): boolean {
  const [first, ...rest] = pattern.split('*');
  if (rest.length === 0) return text === first;
  const last = rest.pop()!;
  if (!text.startsWith(first) || text.length < first.length + last.length || !text.endsWith(last))
    return false;
  const end = text.length - last.length;
  let at = first.length;
  for (const part of rest) {
    const found = text.indexOf(part, at);
    if (found < 0 || found + part.length > end) return false;
    at = found + part.length;
  }
  return true;
}

/** @param labels of a group's incident */
export function silencedBy(
  silences: readonly Silence[],
  labelsOf: (key: string, level: Level | undefined) => Record<string, string>,
  nowMs: number,
): Silenced {
  const active = silences.filter((silence) => isActive(silence, nowMs));
  if (active.length === 0) return () => false;
  return (key, level) => active.some(({ matchers }) => matches(matchers, labelsOf(key, level)));
}
