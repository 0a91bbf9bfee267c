import type { Silenced } from './silences.js';
import {
  type Condition,
  type GroupState,
  type Level,
  levelOf,
  type Measurement,
  phaseOf,
  transition,
} from './transition.js';

/**
 * What follows from the states of a rule's groups: which incidents begin and end, and what is told. Pure functions, like the
 * transition itself.
 */

/** What is remembered of a group between evaluations. Times are Unix milliseconds. */
export interface GroupRecord extends GroupState {
  /** The incident that is open, its number in the tenant and when it began. */
  incidentId: string | null;
  number: number | null;
  startedMs: number | null;
  /** The highest level that was told of it. */
  toldLevel: Level | null;
  toldGone: boolean;
  /** When it was told last, for reminders. */
  toldMs: number | null;
  acknowledged: boolean;
  /** When a value was written down last, for the timeline. */
  notedMs: number | null;
  /** When its last incident ended, for the cooldown. */
  endedMs: number | null;
}

export interface TellRules {
  cooldownMs: number;
  /** null: nobody is reminded. */
  reminderMs: number | null;
}

export type IncidentChange = 'open' | 'raise' | 'lower' | 'gone' | 'back' | 'resolve' | undefined;
export type Tell = 'firing' | 'gone' | 'resolved' | 'reminder' | undefined;

/** What an evaluation means for one group. */
export interface GroupNews {
  key: string;
  before: GroupRecord | undefined;
  after: GroupRecord;
  change: IncidentChange;
  tell: Tell;
}

const NO_INCIDENT = {
  ...{ incidentId: null, number: null, startedMs: null, notedMs: null },
  ...{ toldLevel: null, toldGone: false, toldMs: null, acknowledged: false },
};
/** Groups that sent something in so many milliseconds are expected to send again. */
export const KNOWN_MS = 3 * 86_400_000;

/**
 * @param measuredOf what was measured of a group
 * @param keys of groups to look at
 * @param newId for an incident that begins
 * @param silenced which groups are not to be told now
 */
export function newsOf(
  condition: Condition,
  rules: TellRules,
  before: ReadonlyMap<string, GroupRecord>,
  keys: Iterable<string>,
  measuredOf: (key: string) => Measurement,
  tickMs: number,
  newId: () => string,
  silenced: Silenced,
): GroupNews[] {
  const news: GroupNews[] = [];
  for (const key of keys) {
    const was = before.get(key);
    const state = transition(condition, measuredOf(key), was, tickMs);
    const change = changeOf(was, state);
    const kept = was ?? { ...NO_INCIDENT, endedMs: null };
    const opened = change === 'open' ? { ...NO_INCIDENT, incidentId: newId(), startedMs: tickMs } : {};
    const after: GroupRecord = { ...kept, ...opened, ...state };
    const tell = tellOf(rules, after, change, tickMs, () => silenced(key, levelOf(after)));
    news.push({ key, before: was, after: noted(after, change, tell, tickMs), change, tell });
  }
  return news;
}

function changeOf(before: GroupRecord | undefined, after: GroupState): IncidentChange {
  const [was, is] = [before?.incidentId ? levelOf(before) : undefined, levelOf(after)];
  if (!was) return is ? 'open' : undefined;
  if (!is) return 'resolve';
  if (was !== is) return is === 'critical' ? 'raise' : 'lower';
  if ((before!.goneMs === null) !== (after.goneMs === null)) return after.goneMs === null ? 'back' : 'gone';
  return undefined;
}

/** What is silenced or cooling down is told as soon as it no longer is, if it still fires then. */
function tellOf(
  { cooldownMs, reminderMs }: TellRules,
  record: GroupRecord,
  change: IncidentChange,
  tickMs: number,
  isSilenced: () => boolean,
): Tell {
  const { incidentId, toldLevel, toldGone, toldMs, endedMs, goneMs, acknowledged } = record;
  if (incidentId === null) return undefined;
  // Whoever was told that it fires is told that it is over, silenced or not.
  if (change === 'resolve') return toldLevel === null ? undefined : 'resolved';
  const level = levelOf(record);
  if (toldLevel === null) {
    if (endedMs !== null && tickMs - endedMs < cooldownMs) return undefined;
    return isSilenced() ? undefined : 'firing';
  }
  const isDue = reminderMs !== null && !acknowledged && toldMs !== null && tickMs - toldMs >= reminderMs;
  const tell =
    level === 'critical' && toldLevel === 'warning'
      ? 'firing'
      : goneMs !== null && !toldGone
        ? 'gone'
        : isDue
          ? 'reminder'
          : undefined;
  return tell && !isSilenced() ? tell : undefined;
}

function noted(record: GroupRecord, change: IncidentChange, tell: Tell, tickMs: number): GroupRecord {
  if (change === 'resolve') return { ...record, ...NO_INCIDENT, endedMs: tickMs };
  if (tell === undefined) return record.goneMs === null ? { ...record, toldGone: false } : record;
  const toldLevel = tell === 'firing' ? levelOf(record)! : record.toldLevel;
  // What is told while its data is gone says so.
  return { ...record, toldLevel, toldGone: record.goneMs !== null, toldMs: tickMs };
}

/** Whether a group has to be remembered for the next evaluation. */
export function isWorthKeeping(
  { absent, noData }: Condition,
  { cooldownMs }: TellRules,
  record: GroupRecord,
  tickMs: number,
): boolean {
  if (phaseOf(record) !== 'inactive') return true;
  if (record.endedMs !== null && tickMs - record.endedMs < cooldownMs) return true;
  const isExpected = absent || noData === 'alert';
  return isExpected && record.seenMs !== null && tickMs - record.seenMs < KNOWN_MS;
}

/** A group whose incident was ended by hand begins anew; what still holds has to hold as long as a new one. */
export function endedByHand(record: GroupRecord, nowMs: number): GroupRecord {
  return { ...record, ...NO_INCIDENT, warning: null, critical: null, endedMs: nowMs, goneMs: null };
}
