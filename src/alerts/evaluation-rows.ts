import type { DataSource, EntityManager } from 'typeorm';
import type { Scope } from '../edge/scope.js';
import { reach } from '../failpoints.js';
import { addDeliveries } from '../notices/deliveries.js';
import type { Notice } from '../notices/notice.js';
import { addEvents, numberIncidents, toldEvents, writeIncidents } from './incident-rows.js';
import { endedByHand, type GroupNews, type GroupRecord } from './news.js';
import { noticesOf, type Place } from './notice-of.js';
import type { RuleDefinition } from './rule.schema.js';
import type { Matcher, Silence } from './silences.js';
import { type Health, phaseOf } from './transition.js';

/** A rule and how it stood after its last evaluation. */
export interface LoadedRule {
  id: string;
  enabled: boolean;
  paused: boolean;
  definition: RuleDefinition;
  /** 0: it was never evaluated. */
  tickMs: number;
  version: number;
  groups: Map<string, GroupRecord>;
  health: Health;
}

interface Row {
  enabled: boolean;
  paused: boolean;
  definition: RuleDefinition;
  tick: string;
  version: string;
  groups: Record<string, GroupRecord>;
  failing_ms: string | null;
  failure_told: boolean;
}

/** @param forChange nobody else writes its state until the transaction ends */
export async function loadRule(
  scope: Scope,
  source: DataSource | EntityManager,
  ruleId: string,
  forChange = false,
): Promise<LoadedRule | undefined> {
  const [row] = await source.query<Row[]>(
    `SELECT enabled, paused, definition, tick, version, groups, failing_ms, failure_told
     FROM alert_rules JOIN alert_rule_states ON rule_id = id WHERE id = $2 AND tenant_id = $1
     ${forChange ? 'FOR UPDATE' : ''}`,
    [scope.tenantId, ruleId],
  );
  if (!row) return undefined;
  const failingMs = row.failing_ms === null ? null : Number(row.failing_ms);
  return {
    id: ruleId,
    ...{ enabled: row.enabled, paused: row.paused, definition: row.definition },
    ...{ tickMs: Number(row.tick), version: Number(row.version) },
    groups: new Map(Object.entries(row.groups)),
    health: { failingMs, told: row.failure_told },
  };
}

/** What an evaluation found. */
export interface Evaluation {
  tickMs: number;
  /** Groups to remember. */
  groups: ReadonlyMap<string, GroupRecord>;
  news: readonly GroupNews[];
  health: Health;
  error: string | undefined;
  /** Made within the transaction, when the incidents have their numbers. */
  notices: (manager: EntityManager) => Promise<Notice[]>;
}

/**
 * Writes an evaluation: state, incidents, their timelines and what is to be told, all or nothing.
 *
 * @returns ids of the deliveries; undefined when the rule was evaluated or changed since it was loaded, and nothing is written
 */
export async function writeEvaluation(
  scope: Scope,
  source: DataSource,
  rule: LoadedRule,
  evaluation: Evaluation,
): Promise<string[] | undefined> {
  const isQuiet = evaluation.news.every(({ after, change }) => !change && after.incidentId === null);
  const healthChanged = rule.health.told !== evaluation.health.told;
  // Most evaluations change no more than one row.
  if (isQuiet && !healthChanged) return (await writeState(source, rule, evaluation)) ? [] : undefined;
  return source.transaction(async (manager) => {
    const sql = 'SELECT 1 FROM alert_rule_states WHERE rule_id = $1 AND version = $2 FOR UPDATE';
    if ((await manager.query<unknown[]>(sql, [rule.id, rule.version])).length === 0) return undefined;
    await numberIncidents(scope, manager, evaluation.news);
    await writeIncidents(scope, manager, rule, evaluation.news, evaluation.tickMs);
    const deliveryIds = await deliver(scope, manager, rule, await evaluation.notices(manager));
    await writeState(manager, rule, evaluation);
    reach('alert-written');
    return deliveryIds;
  });
}

/** @returns whether the state was still the one that was loaded */
async function writeState(
  source: DataSource | EntityManager,
  { id, version }: LoadedRule,
  { tickMs, groups, health, error }: Evaluation,
): Promise<boolean> {
  const phases = [...groups.values()].map(phaseOf);
  const firing = phases.filter((phase) => phase === 'firing').length;
  const pending = phases.filter((phase) => phase === 'pending').length;
  const status = error !== undefined ? 'error' : firing > 0 ? 'firing' : pending > 0 ? 'pending' : 'ok';
  const [written] = await source.query<{ done: number }[]>(
    `WITH written AS (
       UPDATE alert_rule_states SET tick = $3, version = version + 1, groups = $4, status = $5, firing = $6, pending = $7, error = $8,
         failing_ms = $9, failure_told = $10, evaluated_at = now()
       WHERE rule_id = $1 AND version = $2 AND tick < $3 RETURNING 1)
     SELECT count(*)::integer AS done FROM written`,
    [
      ...[id, version, tickMs, JSON.stringify(Object.fromEntries(groups)), status, firing, pending],
      ...[error ?? null, health.failingMs, health.told],
    ],
  );
  return written.done === 1;
}

/** Writes the groups of a rule whose state the transaction holds (`loadRule` for a change). */
export async function writeGroups(
  manager: EntityManager,
  ruleId: string,
  groups: ReadonlyMap<string, GroupRecord>,
): Promise<void> {
  const firing = [...groups.values()].filter((record) => phaseOf(record) === 'firing').length;
  await manager.query(
    `UPDATE alert_rule_states SET version = version + 1, groups = $2, firing = $3 WHERE rule_id = $1`,
    [ruleId, JSON.stringify(Object.fromEntries(groups)), firing],
  );
}

/**
 * Ends incidents by hand, within the change that holds the rule (`loadRule`), and tells those who were told of them.
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

/** Writes down that the notices are to be told to the rule's channels, and in the incidents' timelines. */
export async function deliver(
  scope: Scope,
  manager: EntityManager,
  rule: LoadedRule,
  notices: readonly Notice[],
): Promise<string[]> {
  const ids: string[] = [];
  for (const notice of notices) {
    ids.push(...(await addDeliveries(manager, scope, notice, rule.definition.channels)));
    await addEvents(manager, toldEvents(notice));
  }
  return ids;
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
