import { randomUUID } from 'node:crypto';
import type { Logger } from 'pino';
import type { DataSource, EntityManager } from 'typeorm';
import { type GroupNews, type GroupRecord, isWorthKeeping, newsOf } from '../alert-states/news.js';
import { type Silenced, silencedBy } from '../alert-states/silences.js';
import { type Measurement, nextHealth, unlessAway } from '../alert-states/transition.js';
import type { Scope } from '../edge/scope.js';
import { AppError } from '../errors.js';
import { reach } from '../failpoints.js';
import { NOTIFICATION } from '../jobs/declared.js';
import type { JobQueues, RunningJob } from '../jobs/job-queue.js';
import { firstJobs } from '../notices/deliveries.js';
import type { Notice } from '../notices/notice.js';
import { placeOf, readSilences, writeEvaluation } from './evaluation-rows.js';
import { type Measured, type Measuring, measuredOf } from './measure.js';
import { failureNotice, noticesOf, silenceLabels } from './notice-of.js';
import { conditionOf, durationMs, type RuleDefinition } from './rule.schema.js';
import { type Evaluation, type LoadedRule, RuleStates } from './rule-states.js';

/** What an evaluation's job leaves behind. */
export type Evaluated =
  | { skipped: 'not there' | 'off' | 'done' }
  | { status: 'evaluated' | 'failed'; groups: number; told: number };

export interface EvaluationPayload {
  organization_id: string;
  workspace_id: string;
  tenant_id: string;
  rule_id: string;
  tick: number;
}

interface Parts {
  source: DataSource;
  measuring: Measuring;
  queues: Pick<JobQueues, 'addAll'>;
  log: Logger;
  /** Of the queue ALERT_EVALUATION. */
  tries: number;
  /** When this process began to take telemetry, Unix milliseconds. */
  upSinceMs: number;
}

/** With the groups that are expected to send something, where that matters. */
type Found = Measured & { expected: string[] };

/** A tick this much older than the clock, or two intervals, gives way to the newest. */
const MAX_LATE_MS = 60_000;
const MAX_RACES = 3;
/** So long after a start clients may still have what they could not send meanwhile. */
const MAX_AWAY_MS = 300_000;

/** Evaluates rules: measures, decides, and writes what follows. */
export class Evaluator {
  private readonly states: RuleStates;

  constructor(private readonly parts: Parts) {
    this.states = new RuleStates(parts.source);
  }

  /**
   * One rule at one tick. Doing it twice is doing it once, and a tick before the last one evaluated does nothing. Where a job has
   * waited for too long, its rule is evaluated at its newest tick in place of that one: were it left to the next job, a queue that
   * is always late would never evaluate anything.
   *
   * @throws Error when the store or the database is away and there are tries left
   */
  async evaluate(
    job: Pick<RunningJob<EvaluationPayload>, 'payload' | 'attempt' | 'signal'>,
    nowMs: number,
  ): Promise<Evaluated> {
    const { organization_id, workspace_id, tenant_id, rule_id } = job.payload;
    const scope = { organizationId: organization_id, workspaceId: workspace_id, tenantId: tenant_id };
    for (let race = 1; ; race++) {
      const rule = await this.states.load(scope, rule_id);
      if (!rule) return { skipped: 'not there' };
      if (!rule.enabled || rule.paused) return { skipped: 'off' };
      const tick = timelyTick(job.payload.tick, durationMs(rule.definition.interval), nowMs);
      if (rule.tickMs >= tick) return { skipped: 'done' };
      const result = await this.measure(scope, rule, tick, job);
      const evaluation = await this.follow(scope, rule, result, tick);
      const deliveryIds = await writeEvaluation(scope, this.parts.source, this.states, rule, evaluation);
      if (deliveryIds) {
        if (deliveryIds.length > 0) reach('alert-committed');
        await addJobs(this.parts, deliveryIds);
        if (deliveryIds.length > 0) reach('alert-told');
        const status = evaluation.error === undefined ? 'evaluated' : 'failed';
        return { status, groups: evaluation.news.length, told: deliveryIds.length };
      }
      // Somebody wrote it meanwhile: an evaluation of another tick, or a change by hand.
      if (race === MAX_RACES) throw new Error(`The rule ${rule_id} changes faster than it can be evaluated.`);
    }
  }

  /** @returns what was measured, or why it was not */
  private async measure(
    scope: Scope,
    { definition, tickMs: lastMs, health }: LoadedRule,
    tickMs: number,
    { attempt, signal }: Pick<RunningJob<EvaluationPayload>, 'attempt' | 'signal'>,
  ): Promise<Found | string> {
    const { measuring } = this.parts;
    try {
      const measured = await measuring.measure(scope, definition, tickMs);
      // A rule that is new, or could not be evaluated until now, knows nothing of groups whose absence it should notice.
      const isNew = lastMs === 0 || health.failingMs !== null;
      const expected =
        isNew && expectsData(definition) ? await measuring.known(scope, definition, tickMs) : [];
      return { ...measured, expected };
    } catch (error) {
      const isOurs = error instanceof AppError;
      const mayPass = !isOurs || error.status >= 500;
      if (signal.aborted || (mayPass && attempt < this.parts.tries)) throw error;
      if (!isOurs) this.parts.log.error({ err: error }, 'A rule could not be evaluated.');
      return isOurs ? error.message : 'The evaluation failed inside.';
    }
  }

  private measuredWith(
    { definition, groups }: LoadedRule,
    result: Found | string,
    tickMs: number,
  ): (key: string) => Measurement {
    if (typeof result === 'string') return () => 'failed';
    const { group_by, window, evaluation_delay } = definition;
    const lookBackMs = Math.min(durationMs(window), MAX_AWAY_MS) + durationMs(evaluation_delay);
    const seen = { fromMs: tickMs - lookBackMs, upSinceMs: this.parts.upSinceMs };
    return (key) => unlessAway(measuredOf(result, group_by, key), groups.get(key), seen);
  }

  private async follow(
    scope: Scope,
    rule: LoadedRule,
    result: Found | string,
    tickMs: number,
  ): Promise<Evaluation> {
    const { source } = this.parts;
    const { definition } = rule;
    const measured = this.measuredWith(rule, result, tickMs);
    const error = typeof result === 'string' ? result : undefined;
    const found = typeof result === 'string' ? [] : [...result.values.keys(), ...result.expected];
    const keys = new Set([...found, ...rule.groups.keys()]);
    if (definition.group_by.length === 0) keys.add('[]');
    const newsWith = (silenced: Silenced) =>
      newsOf(
        conditionOf(definition),
        tellRulesOf(definition),
        rule.groups,
        keys,
        measured,
        tickMs,
        randomUUID,
        silenced,
      );
    let news = newsWith(() => false);
    // Silences are read only where there is something to tell.
    if (news.some((one) => one.tell !== undefined)) {
      const silences = await readSilences(scope, source, tickMs);
      if (silences.length > 0)
        news = newsWith(silencedBy(silences, (key, level) => silenceLabels(definition, key, level), tickMs));
    }
    const { health, tell } = nextHealth(rule.health, error !== undefined, tickMs);
    const notices = async (manager: EntityManager): Promise<Notice[]> => {
      if (!tell && news.every((one) => one.tell === undefined)) return [];
      const place = await placeOf(scope, manager);
      const what = tell === 'error' ? `cannot be evaluated: ${error}` : 'can be evaluated again.';
      const failure = tell ? [failureNotice(place, rule, tell, what, tickMs)] : [];
      return [...failure, ...noticesOf(place, rule, news, tickMs)];
    };
    return { tickMs, groups: keptGroups(definition, news, tickMs), news, health, error, notices };
  }
}

/** The tick itself, or the newest when it is too late for it. */
function timelyTick(tickMs: number, intervalMs: number, nowMs: number): number {
  const lateMs = nowMs - tickMs;
  if (lateMs <= Math.max(2 * intervalMs, MAX_LATE_MS)) return tickMs;
  return tickMs + Math.floor(lateMs / intervalMs) * intervalMs;
}

/** Has deliveries sent whose transaction is over; where that fails the sweeper does it a minute later. */
export async function addJobs(
  { queues, log }: Pick<Parts, 'queues' | 'log'>,
  deliveryIds: readonly string[],
): Promise<void> {
  if (deliveryIds.length === 0) return;
  try {
    await queues.addAll(NOTIFICATION, firstJobs(deliveryIds));
  } catch (error) {
    log.error({ err: error }, 'Notifications wait: their jobs could not be added.');
  }
}

export const tellRulesOf = (rule: RuleDefinition) => ({
  cooldownMs: durationMs(rule.cooldown),
  reminderMs: rule.reminder === null ? null : durationMs(rule.reminder),
});

const expectsData = ({ absent, no_data }: RuleDefinition) => absent !== null || no_data === 'alert';

export function keptGroups(
  definition: RuleDefinition,
  news: readonly GroupNews[],
  tickMs: number,
): Map<string, GroupRecord> {
  const condition = conditionOf(definition);
  const rules = tellRulesOf(definition);
  const kept = news.filter(({ after }) => isWorthKeeping(condition, rules, after, tickMs));
  return new Map(kept.map(({ key, after }) => [key, after]));
}
