import { labelText } from '../alert-states/label-text.js';
import type { ClickHouse } from '../connections/clickhouse.js';
import type { Scope } from '../edge/scope.js';
import { AppError } from '../errors.js';
import { countLogs, type GroupValue, type LogCountQuestion } from '../figures/log-counts.js';
import { parseTerms } from '../figures/search-terms.js';
import { measureSpans, type SpanQuestion } from '../figures/span-figures.js';
import type { AttributeFilter } from '../http/request.schema.js';
import type { TimeRange } from '../http/time.js';
import { queryMetric } from '../series/metric-series.js';
import { severityNumber } from '../store/logs.js';
import { HOUR_NS } from '../store/statement.js';
import { type AlertQuery, durationMs, type RuleDefinition } from './rule.schema.js';

/** What was measured. A group's key is the values of `group_by`, as a JSON list. */
export interface Measured {
  values: Map<string, number>;
  /** Of counts by attributes: services and resources that sent something, so that their other groups count 0. */
  sources?: Set<string>;
}

/** A rule that has more groups is too wide to be told. */
export const MAX_GROUPS = 1000;
/** Longer than any window: the whole range is one step. */
const ONE_STEP_MS = 1e15;
/** Answers are kept for so long, for rules that ask the same at the same tick. */
const KEPT_MS = 30_000;
const MAX_KEPT = 1000;

/** Measures what rules ask for. Rules with the same question and the same window are answered by one query. */
export class Measuring {
  private readonly kept = new Map<string, { atMs: number; answer: Promise<Measured> }>();
  /** Queries made so far. */
  queries = 0;

  constructor(private readonly clickhouse: ClickHouse) {}

  /**
   * The window of a rule that ends `evaluation_delay` before the tick.
   *
   * @throws AppError INVALID_ARGUMENT when the question has no meaning or too many groups, QUERY_TOO_EXPENSIVE, UNAVAILABLE
   */
  async measure(scope: Scope, rule: RuleDefinition, tickMs: number, signal?: AbortSignal): Promise<Measured> {
    const endMs = tickMs - durationMs(rule.evaluation_delay);
    const ask = (query: AlertQuery, beforeMs = 0) => this.ask(scope, rule, query, endMs - beforeMs, signal);
    const value = async (beforeMs = 0) => {
      if (rule.divide_by === null) return ask(rule.query, beforeMs);
      const [part, whole] = [await ask(rule.query, beforeMs), await ask(rule.divide_by, beforeMs)];
      return combine(rule.group_by, part, whole, (a, b) => a / b);
    };
    if (rule.compare_to === null) return value();
    const { before, as } = rule.compare_to;
    const change = (now: number, then: number) =>
      as === 'difference' ? now - then : ((now - then) / Math.abs(then)) * 100;
    return combine(rule.group_by, await value(), await value(durationMs(before)), change);
  }

  /** Groups that sent something in the day before: those that are expected to go on. */
  async known(scope: Scope, rule: RuleDefinition, tickMs: number): Promise<string[]> {
    const found = await this.ask(scope, { ...rule, window: '1d' }, rule.query, tickMs);
    return [...found.values.keys()];
  }

  private ask(
    scope: Scope,
    { group_by, window }: RuleDefinition,
    query: AlertQuery,
    endMs: number,
    signal?: AbortSignal,
  ): Promise<Measured> {
    const range = { fromNs: toNs(endMs - durationMs(window)), toNs: toNs(endMs) };
    const key = JSON.stringify([scope, query, group_by, window, endMs]);
    const nowMs = performance.now();
    const known = this.kept.get(key);
    if (known && nowMs - known.atMs < KEPT_MS) return known.answer;
    this.queries++;
    const answer = measureQuery(scope, this.clickhouse, query, group_by, range, signal);
    this.kept.set(key, { atMs: nowMs, answer });
    // What failed is asked again by whoever comes next.
    answer.catch(() => this.kept.delete(key));
    this.forgetOld(nowMs);
    return answer;
  }

  private forgetOld(nowMs: number): void {
    for (const [key, { atMs }] of this.kept) {
      if (this.kept.size <= MAX_KEPT && nowMs - atMs < KEPT_MS) return;
      this.kept.delete(key);
    }
  }
}

const toNs = (ms: number) => BigInt(Math.max(0, ms)) * 1_000_000n;
const isSource = (key: string) => key === 'service_name' || key.startsWith('resource.');

export const keyOf = (labels: readonly string[]) => JSON.stringify(labels.map(labelText));

export function labelsOf(groupBy: readonly string[], key: string): Record<string, string> {
  const values = JSON.parse(key) as string[];
  return Object.fromEntries(groupBy.map((name, i) => [name, values[i] ?? '']));
}

/** What a group has in it. */
export function measuredOf(
  { values, sources }: Measured,
  groupBy: readonly string[],
  key: string,
): number | 'missing' {
  const value = values.get(key);
  if (value !== undefined) return value;
  if (!sources) return 'missing';
  const labels = JSON.parse(key) as string[];
  return sources.has(keyOf(labels.filter((_, i) => isSource(groupBy[i])))) ? 0 : 'missing';
}

/** Groups of which both are known; what cannot be divided by is no data. */
function combine(
  groupBy: string[],
  a: Measured,
  b: Measured,
  by: (a: number, b: number) => number,
): Measured {
  const values = new Map<string, number>();
  for (const key of new Set([...a.values.keys(), ...b.values.keys()])) {
    const [left, right] = [measuredOf(a, groupBy, key), measuredOf(b, groupBy, key)];
    const result = left === 'missing' || right === 'missing' ? Number.NaN : by(left, right);
    if (Number.isFinite(result)) values.set(key, result);
  }
  return { values };
}

/** No rollup answers for less than an hour: it need not be asked whether there is one. */
const sourceFor = ({ fromNs, toNs }: TimeRange) => (toNs - fromNs < HOUR_NS ? 'raw' : 'coarsest');

interface Asked {
  services: string[];
  attributes: AttributeFilter[];
  groupBy: string[];
}

async function measureQuery(
  scope: Scope,
  clickhouse: ClickHouse,
  query: AlertQuery,
  groupBy: string[],
  range: TimeRange,
  signal?: AbortSignal,
): Promise<Measured> {
  const attributes = Object.entries(query.filters ?? {}).map(([key, given]) => ({
    key,
    values: [given].flat(),
  }));
  const asked = { services: query.service ?? [], attributes, groupBy };
  if (query.signal === 'metrics') {
    const question = {
      ...{ metric: query.metric, agg: query.agg, services: asked.services, filters: attributes },
      ...{ stepMs: ONE_STEP_MS, groupBy },
    };
    const { series } = await queryMetric(scope, clickhouse, question, range, signal, sourceFor(range));
    const rows = series.map(({ labels, points }) => ({
      labels: groupBy.map((key) => labels[key]),
      value: Number(points[0][1]),
    }));
    return { values: valuesOf(rows) };
  }
  if (query.signal === 'logs') {
    const question = { ...asked, ...logFilters(query) };
    const count = (one: LogCountQuestion) => countLogs(scope, clickhouse, one, range, MAX_GROUPS + 1, signal);
    return withZeros(groupBy, await count(question), () => count({ ...NO_LOG_FILTERS, ...sourceOf(asked) }));
  }
  const question = { ...asked, ...spanFilters(query) };
  const measure = (one: SpanQuestion) => measureSpans(scope, clickhouse, one, range, MAX_GROUPS + 1, signal);
  const rows = await measure(question);
  if (query.figure !== 'count') return { values: valuesOf(rows) };
  return withZeros(groupBy, rows, () => measure({ ...NO_SPAN_FILTERS, ...sourceOf(asked) }));
}

/**
 * Where nothing matches of somebody who sends, the count is 0; where nobody sends, there is no data: else the alert over errors
 * would end when what makes them dies.
 */
async function withZeros(
  groupBy: string[],
  rows: GroupValue[],
  readSources: () => Promise<GroupValue[]>,
): Promise<Measured> {
  const values = valuesOf(rows);
  if (groupBy.length === 0 && rows.length > 0) return { values };
  const sources = [...valuesOf(await readSources()).keys()];
  if (!groupBy.every(isSource)) return { values, sources: new Set(sources) };
  for (const key of sources) if (!values.has(key)) values.set(key, 0);
  return { values };
}

function valuesOf(rows: GroupValue[]): Map<string, number> {
  if (rows.length > MAX_GROUPS)
    throw new AppError(
      'INVALID_ARGUMENT',
      `The rule has more than ${MAX_GROUPS} groups. Use fewer group_by keys, or filters.`,
    );
  const known = rows.filter(({ value }) => !Number.isNaN(value));
  // Infinities would not survive as JSON; any threshold sees no difference.
  const finite = (value: number) => Math.max(-Number.MAX_VALUE, Math.min(value, Number.MAX_VALUE));
  return new Map(known.map(({ labels, value }) => [keyOf(labels), finite(value)]));
}

/** The same without all that is not about who sends. */
const sourceOf = ({ services, attributes, groupBy }: Asked): Asked => ({
  services,
  attributes: attributes.filter(({ key }) => isSource(key)),
  groupBy: groupBy.filter(isSource),
});

const NO_LOG_FILTERS = { terms: [], severities: [] };
const logFilters = (query: AlertQuery & { signal: 'logs' }) => ({
  terms: parseTerms(query.q ?? '') ?? [],
  severities: query.severity ?? [],
  minSeverity: query.min_severity === undefined ? undefined : severityNumber(query.min_severity),
});

const NO_SPAN_FILTERS = { figure: 'count' as const, operations: [], kinds: [], statuses: [] };
const spanFilters = (query: AlertQuery & { signal: 'traces' }) => ({
  figure: query.figure,
  operations: query.operation ?? [],
  kinds: query.kind ?? [],
  statuses: query.status ?? [],
  minDurationMs: query.min_duration_ms,
  maxDurationMs: query.max_duration_ms,
});
