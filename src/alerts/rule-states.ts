import type { DataSource, EntityManager } from 'typeorm';
import type { GroupNews, GroupRecord } from '../alert-states/news.js';
import { type Health, phaseOf } from '../alert-states/transition.js';
import type { Scope } from '../edge/scope.js';
import type { Notice } from '../notices/notice.js';
import { Lots } from './lots.js';
import type { RuleDefinition } from './rule.schema.js';

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

interface Wanted {
  scope: Scope;
  ruleId: string;
}
interface Written {
  rule: LoadedRule;
  evaluation: Evaluation;
}

/**
 * How rules stand, for their evaluations: those under way together read and write their rules in lots, since of the time of an
 * evaluation whose answer is known nearly all is that of its statements.
 */
export class RuleStates {
  private readonly reads: Lots<Wanted, LoadedRule | undefined>;
  private readonly writes: Lots<Written, boolean>;

  constructor(source: DataSource) {
    this.reads = new Lots((wanted) => readStates(source, wanted));
    // Two processes that write some of the same rules can wait for each other: PostgreSQL ends one lot, which is then written one by one.
    this.writes = new Lots((written) => writeStates(source, written));
  }

  /** @returns undefined when it is not there, or another tenant's */
  load(scope: Scope, ruleId: string): Promise<LoadedRule | undefined> {
    return this.reads.ask({ scope, ruleId });
  }

  /** @returns false when the rule was evaluated or changed since it was loaded, and nothing is written */
  write(rule: LoadedRule, evaluation: Evaluation): Promise<boolean> {
    return this.writes.ask({ rule, evaluation });
  }
}

/** Of a change by hand: nobody else writes the rule's state until the transaction ends. */
export async function loadForChange(
  scope: Scope,
  manager: EntityManager,
  ruleId: string,
): Promise<LoadedRule | undefined> {
  return (await readStates(manager, [{ scope, ruleId }], 'FOR UPDATE OF alert_rules, states'))[0];
}

/** @returns undefined when it is not there, or another tenant's */
export async function loadRule(
  scope: Scope,
  source: DataSource,
  ruleId: string,
): Promise<LoadedRule | undefined> {
  return (await readStates(source, [{ scope, ruleId }]))[0];
}

interface Row {
  n: string;
  id: string;
  enabled: boolean;
  paused: boolean;
  definition: RuleDefinition;
  tick: string;
  version: string;
  groups: Record<string, GroupRecord>;
  failing_ms: string | null;
  failure_told: boolean;
}

async function readStates(
  source: DataSource | EntityManager,
  wanted: readonly Wanted[],
  lock = '',
): Promise<(LoadedRule | undefined)[]> {
  const rows = await source.query<Row[]>(
    `SELECT n, id, enabled, paused, definition, tick, version, groups, failing_ms, failure_told
     FROM unnest($1::uuid[], $2::uuid[]) WITH ORDINALITY AS asked (tenant_id, rule_id, n)
     JOIN alert_rules ON alert_rules.id = asked.rule_id AND alert_rules.tenant_id = asked.tenant_id
     JOIN alert_rule_states AS states ON states.rule_id = alert_rules.id ${lock}`,
    [wanted.map(({ scope }) => scope.tenantId), wanted.map(({ ruleId }) => ruleId)],
  );
  const found: (LoadedRule | undefined)[] = wanted.map(() => undefined);
  for (const { n, tick, version, groups, failing_ms, failure_told, ...rule } of rows)
    found[Number(n) - 1] = {
      ...rule,
      ...{ tickMs: Number(tick), version: Number(version) },
      groups: new Map(Object.entries(groups)),
      health: { failingMs: failing_ms === null ? null : Number(failing_ms), told: failure_told },
    };
  return found;
}

/** @returns of each whether the state was still the one that was loaded, and is now the one given */
export async function writeStates(
  source: DataSource | EntityManager,
  written: readonly Written[],
): Promise<boolean[]> {
  const rows = written.map(({ rule, evaluation }, n) => ({ n, ...stateRow(rule, evaluation) }));
  // The limit is for the planner alone: it takes a list for 100 rows, and would rather read the whole table than look so many up.
  const done = await source.query<{ n: number }[]>(
    `WITH given AS (
       SELECT * FROM jsonb_to_recordset($1::jsonb) AS given (n integer, rule_id uuid, version bigint, tick bigint, groups jsonb,
         status text, firing integer, pending integer, error text, failing_ms bigint, failure_told boolean) LIMIT $2),
     written AS (
       UPDATE alert_rule_states AS states SET tick = given.tick, version = given.version + 1, groups = given.groups,
         status = given.status, firing = given.firing, pending = given.pending, error = given.error, failing_ms = given.failing_ms,
         failure_told = given.failure_told, evaluated_at = now()
       FROM given WHERE states.rule_id = given.rule_id AND states.version = given.version AND states.tick < given.tick
       RETURNING given.n)
     SELECT n FROM written`,
    [JSON.stringify(rows), rows.length],
  );
  const numbers = new Set(done.map(({ n }) => n));
  return written.map((_, n) => numbers.has(n));
}

function stateRow({ id, version }: LoadedRule, { tickMs, groups, health, error }: Evaluation) {
  const { status, firing, pending } = standingOf(groups);
  return {
    ...{ rule_id: id, version, tick: tickMs, groups: Object.fromEntries(groups), firing, pending },
    ...{ status: error === undefined ? status : 'error', error: error ?? null },
    ...{ failing_ms: health.failingMs, failure_told: health.told },
  };
}

function standingOf(groups: ReadonlyMap<string, GroupRecord>) {
  const phases = [...groups.values()].map(phaseOf);
  const firing = phases.filter((phase) => phase === 'firing').length;
  const pending = phases.filter((phase) => phase === 'pending').length;
  return { firing, pending, status: firing > 0 ? 'firing' : pending > 0 ? 'pending' : 'ok' };
}

/** Writes the groups of a rule whose state the transaction holds (`loadForChange`). */
export async function writeGroups(
  manager: EntityManager,
  ruleId: string,
  groups: ReadonlyMap<string, GroupRecord>,
): Promise<void> {
  const { firing, pending, status } = standingOf(groups);
  await manager.query(
    `UPDATE alert_rule_states SET version = version + 1, groups = $2, firing = $3, pending = $4,
       status = CASE WHEN status IN ('unknown', 'error') THEN status ELSE $5 END
     WHERE rule_id = $1`,
    [ruleId, JSON.stringify(Object.fromEntries(groups)), firing, pending, status],
  );
}

/** Has a rule whose state the transaction holds begin anew: nothing is known of it, as if it were just made. */
export async function forgetState(manager: EntityManager, ruleId: string): Promise<void> {
  await manager.query(
    `UPDATE alert_rule_states SET version = version + 1, tick = 0, groups = '{}', firing = 0, pending = 0, status = 'unknown',
       error = NULL, failing_ms = NULL, failure_told = false, evaluated_at = NULL
     WHERE rule_id = $1`,
    [ruleId],
  );
}
