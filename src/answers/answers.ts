import type { CacheService } from '../cache/cache.service.js';
import { keys } from '../cache/cache-key.js';
import { CacheProfile, type CacheTtl } from '../cache/cache-profile.js';
import type { Cached } from '../cache/flight.js';
import type { Scope } from '../edge/scope.js';
import { AppError } from '../errors.js';
import type { TimeExpression, TimeRange } from '../http/time.js';
import { currentExplanation } from '../store/explaining.js';
import type { Meta } from '../store/statement.js';
import { type AnswerKind, COARSE, type TimeGroup, timeGroupOf } from './time-groups.js';

/** A question as it was asked. */
export interface Asked {
  kind: AnswerKind;
  /** Of the question, among those of its kind. */
  name: string;
  /** The time range as it was written, undefined where it was not, and what it means now. */
  from: TimeExpression | undefined;
  to: TimeExpression | undefined;
  /** How many seconds old the answer may be, where the range is not closed; undefined: without rows of the last second. */
  max_age?: number;
  range: TimeRange;
  /** All else that the answer depends on, as plain data. A `cursor` in it has a range of its own. */
  question: object & { cursor?: string };
  /** Of a series. */
  stepMs?: number;
}

/** How long answers about a time range that goes on are kept; `UNHEARD` where not all who store are heard. */
const LIVE: CacheTtl = { l1Seconds: 10, l2Seconds: 10 };
const LIVE_COARSE: CacheTtl = { l1Seconds: 300, l2Seconds: 300 };
const UNHEARD: CacheTtl = { l1Seconds: 1, l2Seconds: 1 };

/** Part of its age at which an answer that may be old is asked for anew, beside who still gets it: so who looks on waits for the first one only. */
const REFRESH_AT = 0.75;

/** A range up to now may lag behind by this part of its length, less than the step of a chart, within these. */
const STEPS = 300;
const MIN_LAG_MS = 1_000;
const MAX_LAG_MS = 10_000;
/** Of coarse ones by this part of a step. */
const COARSE_LAGS = 5;
const MAX_COARSE_LAG_MS = 300_000;

/** How answers are kept: not at all, until rows come, or (`second`) as other processes store and don't tell, for a second. */
export type Keeping = 'off' | 'second' | 'until-changed';

/**
 * Answers to questions about a tenant's telemetry, kept until rows come that may change them (`StaleAnswers`), and asked for once by
 * all who have the same question.
 */
export class Answers {
  /** @param store which one is asked: instances that share Redis need not share it */
  constructor(
    private readonly cache: CacheService,
    private readonly keeping: Keeping,
    private readonly store: string,
  ) {}

  /**
   * @param ask the store; its signal fires when nobody waits for the answer any more
   * @param signal of the caller
   * @returns the answer, frozen but for `meta`, which tells of this request: where it came from, how long it took
   * @throws what `ask` throws; AppError REQUEST_TIMEOUT when the caller went away
   */
  async get<T extends { meta: Meta }>(
    scope: Scope,
    asked: Asked,
    nowMs: number,
    ask: (signal: AbortSignal) => Promise<T>,
    signal: AbortSignal,
  ): Promise<T> {
    const group = groupOf(asked, nowMs);
    const answer = await this.ask(scope, asked, group, nowMs, ask, signal);
    // Who looks for the first points of a metric doesn't wait for them any longer than in short steps.
    if (isCoarse(group) && isEmpty(answer) && answer.meta.cache !== 'miss')
      return this.ask(scope, asked, asked.max_age ? 'aged' : 'live', nowMs, ask, signal);
    return answer;
  }

  private async ask<T extends { meta: Meta }>(
    scope: Scope,
    asked: Asked,
    group: TimeGroup,
    nowMs: number,
    ask: (signal: AbortSignal) => Promise<T>,
    signal: AbortSignal,
  ): Promise<T> {
    const startedAtMs = performance.now();
    const explanation = currentExplanation();
    if (explanation) {
      const { meta, ...rest } = await ask(signal).catch((error) => explain(error, signal));
      return { ...rest, meta: { ...meta, explain: explanation.statements } } as T;
    }
    const parameters = [this.store, parametersOf(asked, group, nowMs)];
    const key = keys.answer(asked.kind, scope, group, asked.name, parameters);
    const { value, source } = await this.cache
      .wrap(key, this.ttlOf(group, asked), async (anyone) => timed(await ask(anyone)), signal)
      .catch((error) => explain(error, signal));
    return { ...value, meta: metaOf(value.meta, source, performance.now() - startedAtMs) };
  }

  private ttlOf(group: TimeGroup, { max_age = 0 }: Asked): CacheTtl {
    if (this.keeping === 'off') return CacheProfile.NONE;
    if (group === 'aged')
      return { l1Seconds: max_age, l2Seconds: max_age, refreshAfterSeconds: max_age * REFRESH_AT };
    if (this.keeping === 'second') return UNHEARD;
    if (isCoarse(group)) return LIVE_COARSE;
    return group === 'live' ? LIVE : CacheProfile.MEDIUM;
  }
}

function groupOf({ kind, range, question, stepMs = 0, max_age }: Asked, nowMs: number): TimeGroup {
  const group = question.cursor === undefined ? timeGroupOf(kind, range, nowMs) : 'live';
  if (group !== 'live') return group;
  const coarse = COARSE.find((one) => stepMs >= one.stepMs);
  if (max_age !== undefined && max_age * 1000 >= (coarse?.gapMs ?? 0)) return 'aged';
  return coarse?.group ?? 'live';
}

const isCoarse = (group: TimeGroup) => COARSE.some((coarse) => coarse.group === group);

/**
 * `now` as a number would never come twice. So a range is known by how it was written, and by which stretch of time, less than a step
 * of a chart, the clock is in: whoever asks the same within it gets the same, unless rows came.
 */
function parametersOf(asked: Asked, group: TimeGroup, nowMs: number): unknown {
  const { from, to, question, max_age } = asked;
  const isRelative = to === undefined || 'beforeNowNs' in to || (from !== undefined && 'beforeNowNs' in from);
  const end = to ?? { beforeNowNs: 0n };
  if (group === 'aged') return [from, end, { max_age }, question];
  return [from, end, isRelative ? Math.floor(nowMs / lagOf(asked, group)) : undefined, question];
}

function lagOf({ range, stepMs = 0 }: Asked, group: TimeGroup): number {
  if (isCoarse(group)) return Math.min(stepMs / COARSE_LAGS, MAX_COARSE_LAG_MS);
  const rangeMs = Number((range.toNs - range.fromNs) / 1_000_000n);
  return Math.min(Math.max(rangeMs / STEPS, MIN_LAG_MS), MAX_LAG_MS);
}

/** As it is kept: with the time at which it was there. */
const timed = <T extends { meta: Meta }>(answer: T): T & { meta: TimedMeta } => ({
  ...answer,
  meta: { ...answer.meta, ready_at_ms: Date.now() },
});

interface TimedMeta extends Meta {
  ready_at_ms: number;
}

function metaOf({ ready_at_ms, ...meta }: TimedMeta, cache: Cached<unknown>['source'], ms: number): Meta {
  const elapsed_ms = Math.round(ms * 10) / 10;
  if (cache === 'miss') return { ...meta, cache, elapsed_ms };
  // Another instance's clock may be ahead of this one's.
  const age_ms = Math.max(0, Date.now() - ready_at_ms);
  return { ...meta, cache, rows_read: 0, bytes_read: 0, elapsed_ms, age_ms };
}

const isEmpty = (answer: object) => 'series' in answer && (answer.series as unknown[]).length === 0;

function explain(error: unknown, signal: AbortSignal): never {
  if (signal.aborted) throw new AppError('REQUEST_TIMEOUT', 'The caller hung up before the answer.');
  throw error;
}
