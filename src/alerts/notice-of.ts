import { randomUUID } from 'node:crypto';
import { cut } from '../alert-states/label-text.js';
import type { GroupNews, GroupRecord } from '../alert-states/news.js';
import { type Level, levelOf } from '../alert-states/transition.js';
import { MAX_INCIDENTS, type Notice, type NoticeIncident, type NoticeKind } from '../notices/notice.js';
import { labelsOf } from './measure.js';
import type { RuleDefinition } from './rule.schema.js';

/** Where a rule is, with names for people. */
export type Place = Pick<Notice, 'organization' | 'workspace' | 'tenant'>;

const MAX_SUMMARY = 4000;
const MAX_LABELS_SHOWN = 200;

/** Labels of a group's incident: the rule's, and over them the group's. */
export const incidentLabels = (rule: RuleDefinition, key: string): Record<string, string> => ({
  ...rule.labels,
  ...labelsOf(rule.group_by, key),
});

/** What silences are held against: beside the incident's labels `rule` and `severity`. */
export const silenceLabels = (rule: RuleDefinition, key: string, level: Level | undefined) => ({
  rule: rule.name,
  severity: level ?? '',
  ...incidentLabels(rule, key),
});

/** What a value is held against; null where the absence of data is what counts. */
export const thresholdOf = (rule: RuleDefinition, level: Level, value: number | null): number | null =>
  value === null || rule.absent !== null ? null : rule[level];

/** The rule's template with its values, or a sentence of our own. */
export function summaryOf(rule: RuleDefinition, key: string, level: Level, state: GroupRecord): string {
  const value = state.value === null ? 'no data' : String(Number(state.value.toPrecision(6)));
  const threshold = thresholdOf(rule, level, state.value);
  const labels = incidentLabels(rule, key);
  if (rule.message === null) return ownSummary(rule, key, value, threshold);
  const values: Record<string, string> = {
    ...{ rule: rule.name, value, operator: rule.operator, level },
    threshold: threshold === null ? '' : String(threshold),
    ...Object.fromEntries(Object.entries(labels).map(([name, text]) => [`labels.${name}`, text])),
  };
  const filled = rule.message.replace(/\{\{\s*([^{}]+?)\s*\}\}/g, (_, name: string) =>
    Object.hasOwn(values, name) ? values[name] : '',
  );
  // A template may be nothing but labels that are empty.
  return cut(filled.trim(), MAX_SUMMARY) || ownSummary(rule, key, value, threshold);
}

function ownSummary(rule: RuleDefinition, key: string, value: string, threshold: number | null): string {
  const about = Object.entries(labelsOf(rule.group_by, key))
    .map(([name, text]) => `${name}=${text}`)
    .join(', ');
  const group = about === '' ? '' : ` (${cut(about, MAX_LABELS_SHOWN)})`;
  const why = threshold === null ? value : `${value} ${rule.operator} ${threshold}`;
  return `${rule.name}: ${why}${group}`;
}

function incidentOf(rule: RuleDefinition, news: GroupNews, tickMs: number): NoticeIncident {
  // A resolved one is told as it was when it fired, with the value that it ended by.
  const isOver = news.tell === 'resolved';
  const state = isOver ? { ...news.before!, value: news.after.value } : news.after;
  const level = (isOver ? levelOf(news.before) : levelOf(news.after)) ?? 'warning';
  return {
    id: state.incidentId!,
    ...(state.number === null ? {} : { number: state.number }),
    severity: level,
    started_at: iso(state.startedMs!),
    ...(isOver ? { resolved_at: iso(tickMs) } : {}),
    labels: incidentLabels(rule, news.key),
    value: state.value === null || !Number.isFinite(state.value) ? null : state.value,
    operator: rule.operator,
    threshold: thresholdOf(rule, level, state.value),
    summary: summaryOf(rule, news.key, level, state),
  };
}

const iso = (ms: number) => new Date(ms).toISOString();
const KINDS = ['firing', 'gone', 'reminder', 'resolved'] as const;
const WHAT: Record<(typeof KINDS)[number], string> = {
  firing: 'fires',
  gone: 'fires, and its data no longer comes',
  reminder: 'still fires',
  resolved: 'is over',
};

/** What an evaluation tells: one notice for all incidents of which the same is told, of so many as a notice may have. */
export function noticesOf(
  place: Place,
  rule: { id: string; definition: RuleDefinition },
  news: readonly GroupNews[],
  tickMs: number,
): Notice[] {
  return KINDS.flatMap((kind) => {
    const told = news.filter(({ tell }) => tell === kind);
    const notices: Notice[] = [];
    for (let at = 0; at < told.length; at += MAX_INCIDENTS) {
      const incidents = told
        .slice(at, at + MAX_INCIDENTS)
        .map((one) => incidentOf(rule.definition, one, tickMs));
      notices.push(notice(place, rule, kind, tickMs, incidents, WHAT[kind]));
    }
    return notices;
  });
}

/** That a rule cannot be evaluated (`error`), or that this is over. @param what is said of the rule */
export function failureNotice(
  place: Place,
  rule: { id: string; definition: RuleDefinition },
  kind: 'error' | 'resolved',
  what: string,
  atMs: number,
): Notice {
  return {
    ...notice(place, rule, kind, atMs, [], what),
    summary: cut(`${rule.definition.name} ${what}`, MAX_SUMMARY),
  };
}

function notice(
  place: Place,
  { id, definition }: { id: string; definition: RuleDefinition },
  kind: NoticeKind,
  atMs: number,
  incidents: NoticeIncident[],
  what: string,
): Notice {
  const { name } = definition;
  const isCritical = incidents.some(({ severity }) => severity === 'critical');
  const summary =
    incidents.length === 1 ? incidents[0].summary : `${name} ${what} for ${incidents.length} groups.`;
  return {
    ...{ id: randomUUID(), kind, severity: isCritical ? 'critical' : 'warning' },
    ...place,
    ...{ rule: { id, name }, at: iso(atMs), summary, incidents },
  };
}

/** That somebody has an incident. */
export function acknowledgedNotice(
  place: Place,
  rule: { id: string; definition: RuleDefinition },
  key: string,
  record: GroupRecord,
  atMs: number,
): Notice {
  const news: GroupNews = { key, before: record, after: record, change: undefined, tell: undefined };
  return notice(place, rule, 'acknowledged', atMs, [incidentOf(rule.definition, news, atMs)], '');
}
