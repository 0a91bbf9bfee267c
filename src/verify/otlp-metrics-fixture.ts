import type { Run } from './otlp-run.js';
import {
  ALL_ATTRIBUTES,
  AWKWARD_TEXT,
  BEYOND_DOUBLE,
  DOUBLE_MAX,
  DOUBLE_MIN,
  INT64_MAX,
  INT64_MIN,
  type OtlpObject,
  UINT32_MAX,
  UINT64_MAX,
} from './otlp-values.js';

/** The `metrics` of a request that has every kind: first those that come with a resource and scope, then one without. */
export function metricsOf(run: Run): { described: OtlpObject[]; bare: OtlpObject[] } {
  const descriptor = (kind: string) => ({
    name: run.metric(kind),
    description: `every field of a ${kind} – ${AWKWARD_TEXT}`,
    unit: 'By/µs',
    metadata: ALL_ATTRIBUTES,
  });
  const point = () => ({
    attributes: ALL_ATTRIBUTES,
    startTimeUnixNano: UINT64_MAX,
    timeUnixNano: run.nextTime(),
    flags: UINT32_MAX,
  });
  const exemplars = exemplarsOf(run);
  const numbers: OtlpObject[] = [
    { ...point(), asDouble: 0.1, exemplars },
    { ...point(), asInt: INT64_MAX },
    { ...point(), asInt: INT64_MIN },
    { ...point(), asDouble: 'NaN' },
    { ...point(), asDouble: '-0' },
    { ...point(), asInt: '0' },
    { timeUnixNano: run.nextTime(), flags: 1 },
  ];
  const more = () => numbers.map((number) => ({ ...number, timeUnixNano: run.nextTime() }));
  const described: OtlpObject[] = [
    { ...descriptor('gauge'), gauge: { dataPoints: numbers } },
    { ...descriptor('sum'), sum: { dataPoints: more(), aggregationTemporality: 1, isMonotonic: true } },
    {
      ...descriptor('sum-other'),
      sum: { dataPoints: more(), aggregationTemporality: 2, isMonotonic: false },
    },
    { ...descriptor('sum-unset'), sum: { dataPoints: [{ timeUnixNano: run.nextTime(), asInt: '1' }] } },
    {
      ...descriptor('histogram'),
      histogram: { dataPoints: histograms(run, point, exemplars), aggregationTemporality: 2 },
    },
    {
      ...descriptor('exponential'),
      exponentialHistogram: { dataPoints: exponentials(run, point, exemplars), aggregationTemporality: 1 },
    },
    { ...descriptor('summary'), summary: { dataPoints: summaries(run, point) } },
  ];
  const bare = [
    { name: run.metric('bare'), gauge: { dataPoints: [{ timeUnixNano: run.nextTime(), asDouble: 1 }] } },
  ];
  return { described, bare };
}

function exemplarsOf(run: Run): OtlpObject[] {
  return [
    {
      timeUnixNano: UINT64_MAX,
      asDouble: DOUBLE_MIN,
      traceId: run.traceId,
      spanId: run.spanId(0),
      filteredAttributes: ALL_ATTRIBUTES,
    },
    { timeUnixNano: BEYOND_DOUBLE, asInt: INT64_MIN, traceId: run.traceId, spanId: run.spanId(1) },
    { timeUnixNano: '1', asDouble: 'NaN' },
    { timeUnixNano: '2' },
  ];
}

function histograms(run: Run, point: () => OtlpObject, exemplars: OtlpObject[]): OtlpObject[] {
  return [
    {
      ...point(),
      count: UINT64_MAX,
      sum: DOUBLE_MAX,
      min: '-0',
      max: 'Infinity',
      explicitBounds: ['-Infinity', -0.1, 0, DOUBLE_MIN, DOUBLE_MAX],
      bucketCounts: ['0', '1', UINT64_MAX, BEYOND_DOUBLE, '4', '5'],
      exemplars,
    },
    { ...point(), count: '3', sum: 0, min: 0, max: 0, bucketCounts: ['3'] },
    { timeUnixNano: run.nextTime() },
  ];
}

function exponentials(run: Run, point: () => OtlpObject, exemplars: OtlpObject[]): OtlpObject[] {
  return [
    {
      ...point(),
      count: UINT64_MAX,
      sum: -0.1,
      min: -DOUBLE_MAX,
      max: DOUBLE_MAX,
      scale: -2147483648,
      zeroCount: UINT64_MAX,
      zeroThreshold: DOUBLE_MIN,
      positive: { offset: -2147483648, bucketCounts: ['0', UINT64_MAX, BEYOND_DOUBLE] },
      negative: { offset: 2147483647, bucketCounts: ['128', '1'] },
      exemplars,
    },
    { timeUnixNano: run.nextTime() },
  ];
}

function summaries(run: Run, point: () => OtlpObject): OtlpObject[] {
  const quantileValues: OtlpObject[] = [
    { quantile: 0, value: -0.1 },
    { quantile: 0.999, value: DOUBLE_MAX },
    { quantile: 1, value: 'NaN' },
    {},
  ];
  return [{ ...point(), count: UINT64_MAX, sum: 0.1, quantileValues }, { timeUnixNano: run.nextTime() }];
}
