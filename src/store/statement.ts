import type { ClickHouseSettings } from '@clickhouse/client';
import type { ClickHouse } from '../connections/clickhouse.js';
import { isRetryable, isTooExpensive } from '../connections/clickhouse-errors.js';
import type { Scope } from '../edge/scope.js';
import { AppError } from '../errors.js';
import type { AttributeFilter } from '../http/request.schema.js';
import type { TimeRange } from '../http/time.js';
import { currentExplanation, type ExplainedStatement } from './explaining.js';
import { nanosToIso } from './values.js';

export const TELEMETRY_TABLES = {
  traces: 'telemetry_traces',
  logs: 'telemetry_logs',
  metrics: 'telemetry_metrics',
} as const;

/** The steps are 32-bit seconds and wrap around in 2106. Rows lie at most an hour ahead of the clock. */
const LAST_STEP_NS = 4_294_000_000_000_000_000n;
/** The last time that the engine knows, in April 2262. */
const LAST_NS = 2n ** 63n - 1n;

/** The five minutes that tables and lists are kept by. */
export const STEP_NS = 300_000_000_000n;
export const HOUR_NS = 3_600_000_000_000n;

/** A point in time as the engine writes it, UTC: `2026-01-02 03:04:05.000000006`. */
const engineTime = (unixNano: bigint) => nanosToIso(String(unixNano)).slice(0, -1).replace('T', ' ');
/** Of which the nanoseconds are so much. */
const NANOS_TEXT = '.000000006'.length;

/**
 * The WHERE of one question: the tenant first, then the time, then what is asked. Values only ever become
 * parameters (`{p0:String}`), so no value can become SQL.
 */
export class Where {
  private readonly conditions: string[] = [];

  constructor(
    readonly scope: Scope,
    readonly params: Record<string, unknown> = {},
  ) {
    this.and(`organization_id = ${this.bind('String', scope.organizationId)}`);
    this.and(`workspace_id = ${this.bind('String', scope.workspaceId)}`);
    this.and(`tenant_id = ${this.bind('String', scope.tenantId)}`);
  }

  /** The placeholder of a value. `type` is a ClickHouse type, written by us, never by a client. */
  bind(type: string, value: unknown): string {
    const name = `p${Object.keys(this.params).length}`;
    this.params[name] = value;
    return `{${name}:${type}}`;
  }

  /**
   * The placeholder of a point in time, to be compared with `timestamp` and the like: a text, which the engine makes a time of once. A
   * function of a number would be looked up, checked and folded at each place, and understanding a statement is most of what a small one costs.
   */
  bindTime(unixNano: bigint): string {
    return this.bind('String', engineTime(unixNano < LAST_NS ? unixNano : LAST_NS));
  }

  and(condition: string): this {
    this.conditions.push(condition);
    return this;
  }

  /** `timestamp` within [from, to): every statement has it. */
  within(range: TimeRange): this {
    return this.and(`timestamp >= ${this.bindTime(range.fromNs)}`).and(
      `timestamp < ${this.bindTime(range.toNs)}`,
    );
  }

  /**
   * The same for spans and logs, whose primary key begins with five-minute steps: the engine prunes by such a key
   * only when the condition names the same expression.
   */
  withinSteps(range: TimeRange): this {
    return this.and(`toStartOfFiveMinutes(timestamp) >= ${this.bindStep(STEP_NS, range.fromNs)}`)
      .and(`toStartOfFiveMinutes(timestamp) <= ${this.bindStep(STEP_NS, range.toNs)}`)
      .within(range);
  }

  /** A WHERE of the same tenant and another range, for a part of the same statement: values of both are in `params`. */
  withinAlso(range: TimeRange): Where {
    const other = new Where(this.scope, this.params);
    return other.withinSteps(range);
  }

  /** When the step began, of five minutes or an hour, that a point in time lies in; as `bindTime`. */
  bindStep(lengthNs: bigint, unixNano: bigint): string {
    const bounded = unixNano < LAST_STEP_NS ? unixNano : LAST_STEP_NS;
    return this.bind('String', engineTime(bounded - (bounded % lengthNs)).slice(0, -NANOS_TEXT));
  }

  /** The tenant as one number, as `trace_steps` has it. */
  tenantKey(): string {
    return 'cityHash64({p0:String}, {p1:String}, {p2:String})';
  }

  toString(): string {
    return this.conditions.join(' AND ');
  }
}

/** What the statements behind one answer cost, summed. */
export class Cost {
  rowsRead = 0;
  bytesRead = 0;
  elapsedMs = 0;

  /** @param partialReason why the answer holds less than was asked for, where it does */
  meta(partialReason?: string): Meta {
    return {
      source: 'raw',
      cache: 'miss',
      rows_read: this.rowsRead,
      bytes_read: this.bytesRead,
      elapsed_ms: Math.round(this.elapsedMs * 10) / 10,
      ...(partialReason === undefined ? {} : { partial: true, partial_reason: partialReason }),
    };
  }
}

/** How an answer was made. */
export interface Meta {
  source: 'raw' | 'metrics_hourly' | 'metrics_daily' | 'postgresql';
  /** Which tier of the cache it came from; `stale`: it was just over, and the store failed or was slow. */
  cache: 'miss' | 'L1' | 'L2' | 'stale';
  /** By ClickHouse for this request; 0 where it was not asked. */
  rows_read: number;
  bytes_read: number;
  elapsed_ms: number;
  /** Of an answer from the cache: how long ago it was made. */
  age_ms?: number;
  /** Present when the answer holds less than was asked for, with the limit that was hit and what to do about it. */
  partial?: true;
  partial_reason?: string;
  /** With `explain=1`: the statements behind the answer. */
  explain?: ExplainedStatement[];
}

/** 0 would be no limit. */
const LEAST_SECONDS = 0.01;

/** One question being answered: where to ask, what it cost so far, and whether anyone still waits. */
export class Asking {
  readonly cost = new Cost();

  constructor(
    private readonly clickhouse: ClickHouse,
    readonly signal?: AbortSignal,
  ) {}

  /**
   * Within the limits of the tenant whose WHERE it is; those of time are for all statements of the answer together.
   *
   * @param settings of the engine, for this statement
   * @throws AppError QUERY_TOO_EXPENSIVE when the engine's limits stop it, UNAVAILABLE when the engine is away,
   *   RATE_LIMITED when too many of the tenant wait, REQUEST_TIMEOUT when the signal fired
   */
  async rows<T>(
    query: string,
    where: Where,
    maxExecutionSeconds?: number,
    settings?: ClickHouseSettings,
  ): Promise<T[]> {
    try {
      const secondsLeft = this.clickhouse.limits.maxSeconds - this.cost.elapsedMs / 1000;
      const seconds = Math.max(LEAST_SECONDS, Math.min(secondsLeft, maxExecutionSeconds ?? secondsLeft));
      const options = { signal: this.signal, maxExecutionSeconds: seconds, settings };
      const result = await this.clickhouse.readFor<T>(where.scope, query, where.params, options);
      await currentExplanation()?.add(this.clickhouse, where.scope, query, where.params, result.rowsRead);
      this.cost.rowsRead += result.rowsRead;
      this.cost.bytesRead += result.bytesRead;
      this.cost.elapsedMs += result.elapsedMs;
      return result.rows;
    } catch (error) {
      if (this.signal?.aborted)
        throw new AppError('REQUEST_TIMEOUT', 'The caller hung up before the answer.');
      throw explain(error);
    }
  }
}

const REASONS: Record<string, string> = {
  '158': 'it would read too many rows',
  '159': 'it took too long',
  '160': 'it would take too long',
  '241': 'it needs too much memory',
  '307': 'it would read too many bytes',
  '396': 'its answer is too large',
};

/** What stopped a statement, said so that the caller knows what to do; a mistake of ours stays what it is. */
function explain(error: unknown): unknown {
  if (error instanceof AppError) return error;
  if (isTooExpensive(error)) {
    const reason = REASONS[(error as { code: string }).code] ?? 'it asks for too much';
    return new AppError(
      'QUERY_TOO_EXPENSIVE',
      `The question was stopped: ${reason}. Narrow the time range (from, to), name a service, or add filters.`,
      { cause: error },
    );
  }
  if (!isRetryable(error)) return error;
  return new AppError('UNAVAILABLE', 'The telemetry store does not answer.', { cause: error });
}

const RESOURCE_PREFIX = 'resource.';

/** The SQL of an attribute's value as text, '' when it is missing. */
export function attributeText(where: Where, key: string): string {
  if (key === 'service_name') return 'toString(service_name)';
  if (key.startsWith(RESOURCE_PREFIX)) {
    return `toString(resource_attributes[${where.bind('String', key.slice(RESOURCE_PREFIX.length))}])`;
  }
  return `attributes[${where.bind('String', key)}]`;
}

/** The filters must all hold. */
export function restrictByAttributes(where: Where, filters: readonly AttributeFilter[]): void {
  for (const { key, values } of filters) {
    where.and(`${attributeText(where, key)} IN ${where.bind('Array(String)', values)}`);
    if (values.includes('')) where.and(attributeExists(where, key));
  }
}

function attributeExists(where: Where, key: string): string {
  if (key === 'service_name') return 'true';
  if (!key.startsWith(RESOURCE_PREFIX)) return `mapContains(attributes, ${where.bind('String', key)})`;
  return `mapContains(resource_attributes, ${where.bind('String', key.slice(RESOURCE_PREFIX.length))})`;
}
