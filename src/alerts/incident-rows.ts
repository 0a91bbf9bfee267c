import type { DataSource, EntityManager } from 'typeorm';
import { indexedKey } from '../alert-states/label-text.js';
import type { GroupNews, GroupRecord, IncidentChange } from '../alert-states/news.js';
import { levelOf } from '../alert-states/transition.js';
import type { Scope } from '../edge/scope.js';
import type { Notice } from '../notices/notice.js';
import { removeOldRows } from '../tenants/rows.js';
import { incidentLabels, summaryOf, thresholdOf } from './notice-of.js';
import type { RuleDefinition } from './rule.schema.js';

/** Values of a firing incident are written down no closer than this. */
const NOTE_EVERY_MS = 60_000;
const EVENT_OF: Record<NonNullable<IncidentChange>, string> = {
  open: 'opened',
  raise: 'raised',
  lower: 'lowered',
  gone: 'gone',
  back: 'back',
  resolve: 'resolved',
};

interface Event {
  incident_id: string;
  at: string;
  kind: string;
  severity?: string;
  value?: number | null;
  notice_id?: string;
  notice_kind?: string;
  done_by?: string;
}

const iso = (ms: number) => new Date(ms).toISOString();
const finite = (value: number | null) => (value !== null && Number.isFinite(value) ? value : null);

/** Gives the incidents that begin their numbers. */
export async function numberIncidents(
  scope: Scope,
  manager: EntityManager,
  news: readonly GroupNews[],
): Promise<void> {
  const opened = news.filter(({ change }) => change === 'open');
  if (opened.length === 0) return;
  const [{ incidents }] = await manager.query<{ incidents: string }[]>(
    `INSERT INTO alert_incident_counts AS counts (tenant_id, incidents) VALUES ($1, $2)
     ON CONFLICT (tenant_id) DO UPDATE SET incidents = counts.incidents + excluded.incidents RETURNING incidents`,
    [scope.tenantId, opened.length],
  );
  const first = Number(incidents) - opened.length + 1;
  for (const [i, { after }] of opened.entries()) after.number = first + i;
}

/**
 * Writes incidents as the news has them, and what happened into their timelines.
 *
 * @param resolvedBy who ends those that end: `recovery`, `rule`, or the id of a user or key
 */
export async function writeIncidents(
  scope: Scope,
  manager: EntityManager,
  rule: { id: string; definition: RuleDefinition },
  news: readonly GroupNews[],
  tickMs: number,
  resolvedBy = 'recovery',
): Promise<void> {
  const rows: unknown[] = [];
  const events: Event[] = [];
  for (const { key, before, after, change } of news) {
    const record = change === 'resolve' ? before! : after;
    if (record.incidentId === null) continue;
    const isDue = after.notedMs === null || tickMs - after.notedMs >= NOTE_EVERY_MS;
    if (change === undefined && !isDue) continue;
    if (change !== 'resolve') after.notedMs = tickMs;
    rows.push(rowOf(rule, key, record, after, change === 'resolve' ? tickMs : null));
    const kind = change ? EVENT_OF[change] : 'value';
    const doneBy = change === 'resolve' && resolvedBy !== 'recovery' ? { done_by: resolvedBy } : {};
    events.push({ ...eventOf(record, after, kind, tickMs), ...doneBy });
  }
  if (rows.length === 0) return;
  await manager.query(
    `INSERT INTO alert_incidents (id, tenant_id, number, rule_id, rule_name, group_key, labels, severity, value, operator, threshold,
       summary, created_at, updated_at, gone_since, resolved_at, resolved_by)
     SELECT id, $1, number, $2, $3, group_key, labels, severity, value, operator, threshold, summary, started_at, $5, gone_since,
       resolved_at, CASE WHEN resolved_at IS NULL THEN NULL ELSE $6 END
     FROM jsonb_to_recordset($4::jsonb) AS given (id uuid, number bigint, group_key text, labels jsonb, severity text,
       value double precision, operator text, threshold double precision, summary text, started_at timestamptz, gone_since timestamptz,
       resolved_at timestamptz)
     ON CONFLICT (id) DO UPDATE SET severity = excluded.severity, value = excluded.value, threshold = excluded.threshold,
       summary = CASE WHEN excluded.resolved_at IS NULL THEN excluded.summary ELSE alert_incidents.summary END,
       updated_at = excluded.updated_at, gone_since = excluded.gone_since, resolved_at = excluded.resolved_at,
       resolved_by = excluded.resolved_by`,
    [scope.tenantId, rule.id, rule.definition.name, JSON.stringify(rows), iso(tickMs), resolvedBy],
  );
  await addEvents(manager, events);
}

function rowOf(
  { definition }: { definition: RuleDefinition },
  key: string,
  record: GroupRecord,
  after: GroupRecord,
  resolvedMs: number | null,
) {
  const severity = levelOf(record) ?? 'warning';
  return {
    id: record.incidentId,
    number: record.number,
    group_key: indexedKey(key),
    labels: incidentLabels(definition, key),
    severity,
    value: finite(after.value),
    operator: definition.operator,
    threshold: thresholdOf(definition, severity, after.value),
    summary: summaryOf(definition, key, severity, after),
    started_at: iso(record.startedMs!),
    gone_since: after.goneMs === null ? null : iso(after.goneMs),
    resolved_at: resolvedMs === null ? null : iso(resolvedMs),
  };
}

const eventOf = (record: GroupRecord, after: GroupRecord, kind: string, tickMs: number): Event => ({
  incident_id: record.incidentId!,
  at: iso(tickMs),
  kind,
  severity: levelOf(record),
  value: finite(after.value),
});

/** That a notice told of these incidents. */
export const toldEvents = ({ id, kind, at, incidents }: Notice): Event[] =>
  incidents.map((incident) => ({
    incident_id: incident.id,
    at,
    kind: 'told',
    notice_id: id,
    notice_kind: kind,
  }));

export async function addEvents(manager: EntityManager, events: readonly Event[]): Promise<void> {
  if (events.length === 0) return;
  await manager.query(
    `INSERT INTO alert_incident_events (incident_id, at, kind, severity, value, notice_id, notice_kind, done_by)
     SELECT incident_id, at, kind, severity, value, notice_id, notice_kind, done_by
     FROM jsonb_to_recordset($1::jsonb) AS given (incident_id uuid, at timestamptz, kind text, severity text, value double precision,
       notice_id uuid, notice_kind text, done_by text)`,
    [JSON.stringify(events)],
  );
}

/** Forgets incidents that ended before then, 1000 at most, of all tenants. @returns how many */
export function removeOldIncidents(source: DataSource, before: Date): Promise<number> {
  return removeOldRows(source, { table: 'alert_incidents', over: 'resolved_at' }, before);
}
