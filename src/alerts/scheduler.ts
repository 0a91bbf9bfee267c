import { createHash } from 'node:crypto';
import type { Logger } from 'pino';
import type { DataSource } from 'typeorm';
import type { Scope } from '../edge/scope.js';
import { ALERT_EVALUATION } from '../jobs/declared.js';
import type { JobQueues } from '../jobs/job-queue.js';
import { removeOldIncidents } from './incident-rows.js';
import { durationMs, questionOf, type RuleDefinition } from './rule.schema.js';

const LOOK_EVERY_MS = 1000;
/** After a pause, of whatever length, the last tick of each rule is made up for if it is not older than this. */
const MAX_BACK_MS = 60_000;
const ADDED_AT_ONCE = 1000;
/** While a job has waited for so long no more are added: rules that are more than the queue may evaluate are evaluated less often. */
const MAX_LAG_MS = 60_000;
const LOOK_BACK_EVERY_MS = 60_000;
const WARN_EVERY_MS = 3_600_000;
const KEPT_MS = 90 * 86_400_000;

interface DueRow {
  id: string;
  organization_id: string;
  workspace_id: string;
  tenant_id: string;
  tick: string;
}

/** SQL of how many evaluations a minute all rules together want. */
export const DUE_PER_MINUTE =
  'SELECT coalesce(sum(60000.0 / interval_ms), 0)::double precision AS due FROM alert_rules WHERE enabled AND NOT paused';

/**
 * When a rule is evaluated: at offset + n * interval. Rules are spread over the interval by what they ask, so that those that ask
 * the same do it at the same time, and are answered by one query.
 */
export function offsetOf(scope: Scope, rule: RuleDefinition): number {
  const asked = `${scope.tenantId} ${questionOf(rule)} ${rule.evaluation_delay}`;
  const hash = createHash('sha256').update(asked).digest().readUInt32BE(0);
  return hash % durationMs(rule.interval);
}

/**
 * Adds the jobs of the rules that are due. Any number of processes may do it: a job's id is its rule and tick, so it is added once, and
 * whatever is evaluated twice all the same counts once (`writeEvaluation`).
 */
export class AlertScheduler {
  private timer: NodeJS.Timeout | undefined;
  private looking: Promise<void> = Promise.resolve();
  private lookedAtMs: number | undefined;
  private lookedBackAtMs = 0;
  private warnedAtMs: number | undefined;
  private isHeldBack = false;

  constructor(
    private readonly source: DataSource,
    private readonly queues: Pick<JobQueues, 'addAll' | 'lag'>,
    private readonly log: Logger,
    /** Evaluations that the queue ALERT_EVALUATION starts in a minute. */
    private readonly allowedPerMinute: number,
  ) {}

  start(): void {
    let isLooking = false;
    this.timer = setInterval(() => {
      if (isLooking) return;
      isLooking = true;
      this.looking = this.look(Date.now()).finally(() => {
        isLooking = false;
      });
    }, LOOK_EVERY_MS).unref();
  }

  async stop(): Promise<void> {
    clearInterval(this.timer);
    await this.looking;
  }

  /** Adds what has become due since the last look; a fault is logged, and made up for at the next. */
  async look(nowMs: number): Promise<void> {
    try {
      const fromMs = Math.max(this.lookedAtMs ?? 0, nowMs - MAX_BACK_MS);
      if (!(await this.isBehind())) {
        await this.addDue(fromMs, nowMs);
        this.lookedAtMs = nowMs;
      }
      if (nowMs - this.lookedBackAtMs < LOOK_BACK_EVERY_MS) return;
      this.lookedBackAtMs = nowMs;
      await this.warnOfTooMany(nowMs);
      await removeOldIncidents(this.source, new Date(nowMs - KEPT_MS));
    } catch (error) {
      this.log.error({ err: error }, 'Rules that are due could not be looked for; that is done again soon.');
    }
  }

  /** Says that there are more rules than the setting allows before they are late, and again each hour. */
  private async warnOfTooMany(nowMs: number): Promise<void> {
    const [{ due }] = await this.source.query<{ due: number }[]>(DUE_PER_MINUTE);
    if (due <= this.allowedPerMinute) {
      this.warnedAtMs = undefined;
      return;
    }
    if (this.warnedAtMs !== undefined && nowMs - this.warnedAtMs < WARN_EVERY_MS) return;
    this.warnedAtMs = nowMs;
    const figures = { due_per_minute: Math.round(due), allowed_per_minute: this.allowedPerMinute };
    this.log.warn(
      figures,
      `Alert rules want ${figures.due_per_minute} evaluations a minute, and QUEUE_ALERT_EVALUATION allows ${this.allowedPerMinute}: each is evaluated less often than its interval says. Set per_second=${Math.ceil((1.2 * due) / 60)} there, or longer intervals.`,
    );
  }

  /** Whether the queue does not keep up; what is not added now is made up for by the last tick of each rule. */
  private async isBehind(): Promise<boolean> {
    // A queue that is away is told of where jobs are added.
    const lag = await this.queues.lag(ALERT_EVALUATION.name).catch(() => undefined);
    if (!lag) return false;
    const { lagMs, isPaused } = lag;
    const isBehind = lagMs > MAX_LAG_MS;
    if (isBehind && !isPaused && !this.isHeldBack)
      this.log.warn(
        { lagMs },
        'Alert rules are evaluated late: they are more than QUEUE_ALERT_EVALUATION or this machine allows.',
      );
    this.isHeldBack = isBehind;
    return isBehind;
  }

  /** The last tick of each rule within (from, to]. */
  private async addDue(fromMs: number, toMs: number): Promise<void> {
    const due = await this.source.query<DueRow[]>(
      `SELECT alert_rules.id, organization_id, workspace_id, tenant_id,
         ($2 - offset_ms) / interval_ms * interval_ms + offset_ms AS tick
       FROM alert_rules JOIN tenants ON tenants.id = tenant_id JOIN workspaces ON workspaces.id = workspace_id
       WHERE enabled AND NOT paused AND ($2 - offset_ms) / interval_ms > ($1 - offset_ms) / interval_ms`,
      [fromMs, toMs],
    );
    for (let at = 0; at < due.length; at += ADDED_AT_ONCE) {
      const jobs = due.slice(at, at + ADDED_AT_ONCE).map(({ id, tick, ...scope }) => ({
        id: `${id}.${tick}`,
        payload: { ...scope, rule_id: id, tick: Number(tick) },
      }));
      await this.queues.addAll(ALERT_EVALUATION, jobs);
    }
  }
}
