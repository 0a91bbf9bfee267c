import { AppError } from '../errors.js';

/** What can be asked of a metric's points in each step. */
export const AGGREGATIONS = [
  'avg',
  'min',
  'max',
  'sum',
  'count',
  'last',
  'rate',
  'increase',
  'p50',
  'p75',
  'p90',
  'p95',
  'p99',
] as const;
export type Aggregation = (typeof AGGREGATIONS)[number];

/** What is recorded under a metric's name: enough to know which questions have an answer. */
export interface MetricKind {
  type: 'gauge' | 'sum' | 'histogram' | 'exponential_histogram' | 'summary';
  monotonic: boolean;
  /** Every point holds what happened since the point before, not since the start. */
  delta: boolean;
}

const QUANTILES = ['p50', 'p75', 'p90', 'p95', 'p99'] as const;
const OF_NUMBERS = ['avg', 'min', 'max', 'sum', 'count', 'last', ...QUANTILES] as const;
const OF_CHANGE = ['rate', 'increase'] as const;

/** The fraction of a percentile, undefined for the others. */
export function quantileOf(agg: Aggregation): number | undefined {
  return agg.startsWith('p') ? Number(agg.slice(1)) / 100 : undefined;
}

/** The aggregations that have a meaning for a kind of metric; the first one is its default. */
export function aggregationsFor(kind: MetricKind): readonly Aggregation[] {
  switch (kind.type) {
    case 'gauge':
      return OF_NUMBERS;
    case 'sum':
      return kind.monotonic
        ? [...OF_CHANGE, ...OF_NUMBERS]
        : ['last', ...OF_NUMBERS.filter((agg) => agg !== 'last')];
    case 'summary':
      return ['avg', 'sum', 'count', ...OF_CHANGE];
    default: {
      // A cumulative point's minimum and maximum are those since the start of the process, not of the step.
      const extremes = kind.delta ? (['min', 'max'] as const) : [];
      return ['avg', 'sum', 'count', ...OF_CHANGE, ...QUANTILES, ...extremes];
    }
  }
}

/** @throws AppError INVALID_ARGUMENT that says which aggregations fit */
export function requireAggregation(
  metric: string,
  kind: MetricKind,
  agg: Aggregation | undefined,
): Aggregation {
  const allowed = aggregationsFor(kind);
  if (agg === undefined) return allowed[0];
  if (allowed.includes(agg)) return agg;
  throw new AppError('INVALID_ARGUMENT', `${agg} has no meaning for ${metric}, which is ${describe(kind)}.`, {
    details: [{ field: 'agg', given: agg, allowed: allowed.join(', ') }],
  });
}

function describe({ type, monotonic, delta }: MetricKind): string {
  if (type === 'gauge' || type === 'summary') return `a ${type}`;
  const temporality = delta ? 'delta' : 'cumulative';
  if (type === 'sum')
    return `a ${temporality} sum that ${monotonic ? 'only grows' : 'can fall (not monotonic)'}`;
  return `${type === 'histogram' ? 'a' : 'an'} ${type.replace('_', ' ')} with ${temporality} temporality`;
}
