import { randomUUID } from 'node:crypto';
import { type GroupNews, type GroupRecord, newsOf } from '../alert-states/news.js';
import { levelOf, phaseOf } from '../alert-states/transition.js';
import type { Scope } from '../edge/scope.js';
import { AppError } from '../errors.js';
import { keptGroups, tellRulesOf } from './evaluator.js';
import { labelsOf, type Measured, type Measuring, measuredOf } from './measure.js';
import { conditionOf, durationMs, type RuleDefinition } from './rule.schema.js';

/** What a rule would have done. */
export interface Backtest {
  from: string;
  to: string;
  /** Seconds between evaluations: the rule's interval, or more where the time is too long for that. */
  evaluated_every: number;
  evaluations: number;
  /** Evaluations that could not be made, and why the last of them could not. */
  failed: number;
  error: string | null;
  /** With the rule as it is. */
  result: Outcome;
  /** With other values of `for`. */
  other_for: (Outcome & { for: string })[];
  /** The groups that fired longest, then others; 20 at most. */
  groups: TestedGroup[];
  /** How many there are. */
  group_count: number;
}

export interface Outcome {
  /** How often it would have fired, each group apart. */
  fired: number;
  /** Notifications that would have been sent to each channel: many groups at once are one. */
  notifications: number;
  firing_seconds: number;
  longest_seconds: number;
  /** Of those that ended: fired for less than three minutes. */
  under_three_minutes: number;
  /** Fire still at the end. */
  open: number;
}

export interface TestedGroup {
  labels: Record<string, string>;
  /** [Unix milliseconds, value; null: no data, or it could not be known] */
  points: [number, number | null][];
  /** [Unix milliseconds, what it became: inactive, pending, warning or critical; `gone` after it where its data was] */
  changes: [number, string][];
  firing_seconds: number;
}

const MAX_EVALUATIONS = 720;
const MAX_GROUPS_SHOWN = 20;
/** Questions at once: the same engine answers those of others. */
const AT_ONCE = 2;
const MAX_MS = 60_000;
const SHORT_MS = 180_000;
const OTHER_FOR = ['0s', '1m', '5m', '15m', '30m'];

/**
 * Evaluates a rule as it would have been, from nothing, at each tick of the time range. Nothing is written and nobody told.
 *
 * @throws AppError QUERY_TOO_EXPENSIVE when that takes longer than a minute, REQUEST_TIMEOUT when the caller went away
 */
export async function backtest(
  scope: Scope,
  measuring: Measuring,
  rule: RuleDefinition,
  fromMs: number,
  toMs: number,
  signal: AbortSignal,
): Promise<Backtest> {
  const intervalMs = durationMs(rule.interval);
  const everyMs = Math.ceil((toMs - fromMs) / intervalMs / MAX_EVALUATIONS) * intervalMs;
  const ticks: number[] = [];
  for (let tick = fromMs + everyMs; tick <= toMs; tick += everyMs) ticks.push(tick);
  const results = await measureAll(scope, measuring, rule, ticks, signal);
  const seen = replay(rule, everyMs, ticks, results);
  const others = OTHER_FOR.filter((given) => durationMs(given) !== durationMs(rule.for));
  const failures = results.filter((result) => typeof result === 'string');
  const groups = groupsOf(rule, ticks, results, seen);
  return {
    from: new Date(fromMs).toISOString(),
    to: new Date(toMs).toISOString(),
    evaluated_every: everyMs / 1000,
    evaluations: ticks.length,
    failed: failures.length,
    error: failures.at(-1) ?? null,
    result: outcomeOf(seen, ticks),
    other_for: others.map((given) => ({
      for: given,
      ...outcomeOf(replay({ ...rule, for: given }, everyMs, ticks, results), ticks),
    })),
    groups: groups.slice(0, MAX_GROUPS_SHOWN),
    group_count: groups.length,
  };
}

async function measureAll(
  scope: Scope,
  measuring: Measuring,
  rule: RuleDefinition,
  ticks: readonly number[],
  signal: AbortSignal,
): Promise<(Measured | string)[]> {
  const results: (Measured | string)[] = new Array(ticks.length);
  const untilMs = performance.now() + MAX_MS;
  let next = 0;
  const work = async () => {
    for (let i = next++; i < ticks.length; i = next++) {
      if (signal.aborted) throw new AppError('REQUEST_TIMEOUT', 'The caller hung up before the answer.');
      if (performance.now() > untilMs)
        throw new AppError(
          'QUERY_TOO_EXPENSIVE',
          'The test took too long. Use fewer hours, a longer interval, or a shorter window.',
        );
      results[i] = await measuring.measure(scope, rule, ticks[i], signal).catch((error: unknown) => {
        if (error instanceof AppError && error.status < 500 && error.code !== 'REQUEST_TIMEOUT')
          return error.message;
        throw error;
      });
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, work));
  return results;
}

/** The news of each tick. */
function replay(
  rule: RuleDefinition,
  everyMs: number,
  ticks: readonly number[],
  results: readonly (Measured | string)[],
): GroupNews[][] {
  const condition = { ...conditionOf(rule), intervalMs: everyMs };
  let groups = new Map<string, GroupRecord>();
  return ticks.map((tick, i) => {
    const result = results[i];
    const keys = new Set([...groups.keys(), ...(typeof result === 'string' ? [] : result.values.keys())]);
    if (rule.group_by.length === 0) keys.add('[]');
    const measured = (key: string) =>
      typeof result === 'string' ? 'failed' : measuredOf(result, rule.group_by, key);
    const news = newsOf(
      ...([condition, tellRulesOf(rule), groups, keys, measured, tick, randomUUID, () => false] as const),
    );
    groups = keptGroups(rule, news, tick);
    return news;
  });
}

function outcomeOf(seen: readonly GroupNews[][], ticks: readonly number[]): Outcome {
  const endMs = ticks.at(-1) ?? 0;
  const lengths: number[] = [];
  const open = new Map<string, number>();
  let notifications = 0;
  for (const [i, news] of seen.entries()) {
    notifications += new Set(news.flatMap(({ tell }) => tell ?? [])).size;
    for (const { key, change } of news) {
      if (change === 'open') open.set(key, ticks[i]);
      const startMs = change === 'resolve' ? open.get(key) : undefined;
      if (startMs === undefined) continue;
      lengths.push(ticks[i] - startMs);
      open.delete(key);
    }
  }
  const all = [...lengths, ...[...open.values()].map((startMs) => endMs - startMs)];
  return {
    fired: all.length,
    notifications,
    firing_seconds: all.reduce((sum, length) => sum + length, 0) / 1000,
    longest_seconds: Math.max(0, ...all) / 1000,
    under_three_minutes: lengths.filter((length) => length < SHORT_MS).length,
    open: open.size,
  };
}

function groupsOf(
  rule: RuleDefinition,
  ticks: readonly number[],
  results: readonly (Measured | string)[],
  seen: readonly GroupNews[][],
): TestedGroup[] {
  const keys = new Set(seen.flatMap((news) => news.map(({ key }) => key)));
  const groups = new Map<string, TestedGroup & { last: string }>();
  for (const key of keys) {
    const start = { points: [], changes: [], firing_seconds: 0, last: 'inactive' };
    groups.set(key, { labels: labelsOf(rule.group_by, key), ...start });
  }
  for (const [i, news] of seen.entries()) {
    const byKey = new Map(news.map(({ key, after }) => [key, after]));
    for (const [key, group] of groups) {
      const result = results[i];
      const value = typeof result === 'string' ? 'failed' : measuredOf(result, rule.group_by, key);
      group.points.push([ticks[i], typeof value === 'number' ? value : null]);
      const state = byKey.get(key);
      const name = state ? (levelOf(state) ?? phaseOf(state)) : 'inactive';
      const shown = state && state.goneMs !== null ? `${name} gone` : name;
      if (shown !== group.last) group.changes.push([ticks[i], shown]);
      group.last = shown;
      // What fires at the last tick has not yet done so for any time.
      if (levelOf(state)) group.firing_seconds += ((ticks[i + 1] ?? ticks[i]) - ticks[i]) / 1000;
    }
  }
  return [...groups.values()]
    .map(({ last, ...group }) => group)
    .sort((a, b) => b.firing_seconds - a.firing_seconds);
}
