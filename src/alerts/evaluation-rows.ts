import type { DataSource, EntityManager } from 'typeorm';
import { endedByHand, type GroupNews } from '../alert-states/news.js';
import type { Matcher, Silence } from '../alert-states/silences.js';
import type { Scope } from '../edge/scope.js';
import { reach } from '../failpoints.js';
import { addDeliveries } from '../notices/deliveries.js';
import type { Notice } from '../notices/notice.js';
import { addEvents, numberIncidents, toldEvents, writeIncidents } from './incident-rows.js';
import { failureNotice, noticesOf, type Place } from './notice-of.js';
import {
  type Evaluation,
  type LoadedRule,
  type RuleStates,
  writeGroups,
  writeStates,
} from './rule-states.js';

/**
 * Writes an evaluation: state, incidents, their timelines and what is to be told, all or nothing.
 *
 * @returns ids of the deliveries; undefined when the rule was evaluated or changed since it was loaded, and nothing is written
 */
export async function writeEvaluation(
  scope: Scope,
  source: DataSource,
  states: RuleStates,
  rule: LoadedRule,
  evaluation: Evaluation,
): Promise<string[] | undefined> {
  const isQuiet = evaluation.news.every(({ after, change }) => !change && after.incidentId === null);
  const healthChanged = rule.health.told !== evaluation.health.told;
  // Most evaluations change no more than one row.
  if (isQuiet && !healthChanged) return (await states.write(rule, evaluation)) ? [] : undefined;
  return source.transaction(async (manager) => {
    const sql = 'SELECT 1 FROM alert_rule_states WHERE rule_id = $1 AND version = $2 FOR UPDATE';
    if ((await manager.query<unknown[]>(sql, [rule.id, rule.version])).length === 0) return undefined;
    await numberIncidents(scope, manager, evaluation.news);
    await writeIncidents(scope, manager, rule, evaluation.news, evaluation.tickMs);
    const deliveryIds = await deliver(scope, manager, rule, await evaluation.notices(manager));
    await writeStates(manager, [{ rule, evaluation }]);
    reach('alert-written');
    return deliveryIds;
  });
}

/**
 * Ends incidents by hand, within the change that holds the rule (`loadForChange`), and tells those who were told of them.
 *
 * @param keys of groups; undefined: all of the rule
 * @param by `rule`, or the id of the user or key
 * @returns ids of the deliveries
 */
export async function endIncidents(
  scope: Scope,
  manager: EntityManager,
  rule: LoadedRule,
  keys: readonly string[] | undefined,
  by: string,
  nowMs: number,
): Promise<string[]> {
  const news: GroupNews[] = [];
  for (const [key, before] of rule.groups) {
    if (before.incidentId === null || keys?.includes(key) === false) continue;
    const after = endedByHand(before, nowMs);
    news.push({ key, before, after, change: 'resolve', tell: before.toldLevel ? 'resolved' : undefined });
    rule.groups.set(key, after);
  }
  if (news.length === 0) return [];
  await writeIncidents(scope, manager, rule, news, nowMs, by);
  await writeGroups(manager, rule.id, rule.groups);
  return deliver(scope, manager, rule, noticesOf(await placeOf(scope, manager), rule, news, nowMs));
}

/**
 * Ends all that a rule has told, within the change by which it goes, is turned off, or asks for something else.
 *
 * @returns ids of the deliveries
 */
export async function endRule(
  scope: Scope,
  manager: EntityManager,
  rule: LoadedRule,
  nowMs: number,
): Promise<string[]> {
  const ended = await endIncidents(scope, manager, rule, undefined, 'rule', nowMs);
  if (!rule.health.told) return ended;
  const over = failureNotice(
    await placeOf(scope, manager),
    rule,
    'resolved',
    'is no longer evaluated as it was.',
    nowMs,
  );
  return [...ended, ...(await deliver(scope, manager, rule, [over]))];
}

/**
 * Writes down that the notices are to be told to the rule's channels, and in the incidents' timelines. That something is over, or somebody
 * has it, is told to those too that the rule has named no longer since they were told that it fires.
 */
export async function deliver(
  scope: Scope,
  manager: EntityManager,
  rule: LoadedRule,
  notices: readonly Notice[],
): Promise<string[]> {
  const ids: string[] = [];
  for (const notice of notices) {
    const channels = [...rule.definition.channels, ...(await toldChannels(scope, manager, notice))];
    ids.push(...(await addDeliveries(manager, scope, notice, channels)));
    await addEvents(manager, toldEvents(notice));
  }
  return ids;
}

async function toldChannels(
  scope: Scope,
  manager: EntityManager,
  { kind, incidents }: Notice,
): Promise<string[]> {
  if ((kind !== 'resolved' && kind !== 'acknowledged') || incidents.length === 0) return [];
  const rows = await manager.query<{ channel_id: string }[]>(
    `SELECT DISTINCT channel_id FROM alert_incident_events AS events
     JOIN notification_deliveries AS deliveries ON deliveries.notice_id = events.notice_id AND deliveries.tenant_id = $1
     WHERE events.kind = 'told' AND events.incident_id = ANY($2::uuid[])`,
    [scope.tenantId, incidents.map(({ id }) => id)],
  );
  return rows.map(({ channel_id }) => channel_id);
}

/** Names of where a scope is, for people. */
export async function placeOf(scope: Scope, source: DataSource | EntityManager): Promise<Place> {
  const [names] = await source.query<{ organization: string; workspace: string; tenant: string }[]>(
    `SELECT organizations.name AS organization, workspaces.name AS workspace, tenants.name AS tenant
     FROM tenants JOIN workspaces ON workspaces.id = workspace_id JOIN organizations ON organizations.id = organization_id
     WHERE tenants.id = $1`,
    [scope.tenantId],
  );
  return {
    organization: { id: scope.organizationId, name: names.organization },
    workspace: { id: scope.workspaceId, name: names.workspace },
    tenant: { id: scope.tenantId, name: names.tenant },
  };
}

/** Silences of the tenant that may be in force at that time. */
export async function readSilences(scope: Scope, source: DataSource, nowMs: number): Promise<Silence[]> {
  const rows = await source.query<
    { matchers: Matcher[]; starts_at: Date; ends_at: Date; repeats: Silence['repeats']; until: Date | null }[]
  >(
    `SELECT matchers, starts_at, ends_at, repeats, until FROM alert_silences
     WHERE tenant_id = $1 AND starts_at <= $2 AND (ends_at > $2 OR (repeats IS NOT NULL AND (until IS NULL OR until > $2)))`,
    [scope.tenantId, new Date(nowMs)],
  );
  return rows.map((row) => ({
    matchers: row.matchers,
    startsMs: row.starts_at.getTime(),
    endsMs: row.ends_at.getTime(),
    repeats: row.repeats,
    untilMs: row.until?.getTime() ?? null,
  }));
}
