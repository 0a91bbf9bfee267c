import { z } from 'zod';
import type { MetricName } from '../series/metric-names.js';
import type { MetricPoint } from '../series/metric-points.js';
import type { SeriesAnswer } from '../series/metric-series.js';
import type { LogRecord } from '../store/logs.js';
import type { Service } from '../store/services.js';
import type { Trace } from '../store/trace.js';
import type { TraceSummary } from '../store/traces.js';
import type { Json } from '../store/values.js';

// What the routes answer, for their description. `satisfies` keeps each complete: the store's types are the truth.

const iso = z.string().describe('ISO 8601, UTC, nine decimals');
const unixNano = z.string().describe('Unix nanoseconds, decimal digits');
const digits = z.string().describe('decimal digits');
const exact = z
  .union([z.number(), z.string()])
  .describe('a string when JSON numbers do not hold it: integers beyond 2^53, NaN, Infinity, -Infinity, -0');
const json = z.custom<Json>().describe('any JSON value');

const attributes = {
  attributes: z.record(z.string(), json),
  attribute_types: z
    .record(z.string(), z.string())
    .describe(
      's string, b bool, i integer, d double, y bytes (base64), n empty, [..] array, {..} list of keys',
    ),
};
const dropped = z.int();
const origin = {
  resource: z.object({ ...attributes, dropped_attributes_count: dropped, schema_url: z.string() }),
  scope: z.object({
    ...attributes,
    name: z.string(),
    version: z.string(),
    dropped_attributes_count: dropped,
    schema_url: z.string(),
  }),
};
export const meta = z.object({
  source: z.literal('raw'),
  cache: z.enum(['miss', 'L1', 'L2', 'stale']).describe('where it came from; miss: the store was asked'),
  rows_read: z.int(),
  bytes_read: z.int(),
  elapsed_ms: z.number(),
  age_ms: z.int().optional().describe('of an answer from the cache: how long ago it was made'),
  partial: z.literal(true).optional().describe('present when the answer holds less than was asked for'),
  partial_reason: z.string().optional().describe('the limit that was hit, and what to do about it'),
  explain: z
    .array(
      z.object({
        statement: z.string().describe('values stand as {name:Type}'),
        parameters: z.record(z.string(), z.unknown()),
        rows_read: z.int(),
        indexes: z.array(z.string()).describe("the engine's EXPLAIN indexes = 1"),
      }),
    )
    .optional()
    .describe('with explain=1: the statements behind the answer'),
});

export const service = z.object({
  service_name: z.string(),
  last_seen: iso,
  metric_count: z.int().describe('data points'),
  unique_metrics: z.int(),
  span_count: z.int(),
  log_count: z.int(),
  error_count: z.int(),
  error_rate: z.number().describe('spans with status ERROR / spans'),
}) satisfies z.ZodType<Service>;

const metricType = z.enum(['none', 'gauge', 'sum', 'histogram', 'exponential_histogram', 'summary']);

export const metricName = z.object({
  service_name: z.string(),
  metric_name: z.string(),
  metric_type: metricType,
  unit: z.string(),
  last_seen: iso,
}) satisfies z.ZodType<MetricName>;

const seriesSource = z
  .enum(['raw', 'metrics_hourly', 'metrics_daily'])
  .describe('the coarsest that was read');

export const seriesAnswer = z.object({
  metric: z.string(),
  metric_type: z.enum(['gauge', 'sum', 'histogram', 'exponential_histogram', 'summary', '']),
  unit: z.string(),
  agg: z.custom<SeriesAnswer['agg']>().describe('as asked, or what fits the metric; null without points'),
  step: z.number().describe('seconds'),
  source: seriesSource,
  series: z.array(
    z.object({
      labels: z.record(z.string(), z.string()),
      points: z.array(z.tuple([z.int(), exact])).describe('[begin of the step in Unix milliseconds, value]'),
    }),
  ),
  meta: meta.extend({ source: seriesSource }),
}) satisfies z.ZodType<SeriesAnswer>;

const numberType = z.enum(['none', 'double', 'int']);
const buckets = z.object({ offset: z.int(), bucket_counts: z.array(digits) }).optional();
const exemplar = z.object({
  ...attributes,
  timestamp: iso,
  time_unix_nano: unixNano,
  value: exact.nullable(),
  value_type: numberType,
  trace_id: z.string(),
  span_id: z.string(),
});

export const metricPoint = z.object({
  ...attributes,
  ...origin,
  timestamp: iso,
  time_unix_nano: unixNano,
  start_time_unix_nano: unixNano,
  service_name: z.string(),
  metric_name: z.string(),
  metric_type: metricType,
  unit: z.string(),
  description: z.string(),
  metadata: attributes.attributes,
  metadata_types: attributes.attribute_types,
  series_id: z.string(),
  flags: z.int(),
  aggregation_temporality: z.enum(['UNSPECIFIED', 'DELTA', 'CUMULATIVE']).optional(),
  is_monotonic: z.boolean().optional(),
  value: exact.nullable().optional(),
  value_type: numberType.optional(),
  count: digits.optional(),
  sum: exact.nullable().optional(),
  min: exact.nullable().optional(),
  max: exact.nullable().optional(),
  explicit_bounds: z.array(exact).optional(),
  bucket_counts: z.array(digits).optional(),
  scale: z.int().optional(),
  zero_count: digits.optional(),
  zero_threshold: exact.optional(),
  positive: buckets,
  negative: buckets,
  quantile_values: z.array(z.object({ quantile: exact, value: exact })).optional(),
  exemplars: z.array(exemplar).optional(),
}) satisfies z.ZodType<MetricPoint>;

export const logRecord = z.object({
  ...attributes,
  ...origin,
  timestamp: iso,
  timestamp_source: z.enum(['time', 'observed', 'received']),
  time_unix_nano: unixNano,
  observed_timestamp: iso.nullable(),
  observed_time_unix_nano: unixNano,
  trace_id: z.string(),
  span_id: z.string(),
  flags: z.int(),
  severity_number: z.int(),
  severity_text: z.string(),
  service_name: z.string(),
  event_name: z.string(),
  body: json,
  body_type: z.string(),
  dropped_attributes_count: dropped,
}) satisfies z.ZodType<LogRecord>;

const traceFigures = {
  trace_id: z.string(),
  timestamp: iso,
  start_time_unix_nano: unixNano,
  duration_ms: z.number().describe('from the start of the earliest span to the end of the latest'),
  span_count: z.int(),
  error_count: z.int(),
  services: z.array(z.string()),
};

export const traceSummary = z.object({
  ...traceFigures,
  root_service: z.string(),
  root_operation: z.string(),
  has_root: z.boolean().describe('false: no span without a parent is there (yet)'),
}) satisfies z.ZodType<TraceSummary>;

const span = z.object({
  ...attributes,
  ...origin,
  timestamp: iso,
  start_time_unix_nano: unixNano,
  end_time_unix_nano: unixNano,
  duration_nano: digits,
  duration_ms: z.number(),
  trace_id: z.string(),
  span_id: z.string(),
  parent_span_id: z.string().describe('empty for a root span'),
  trace_state: z.string(),
  flags: z.int(),
  service_name: z.string(),
  span_name: z.string(),
  span_kind: z.enum(['UNSPECIFIED', 'INTERNAL', 'SERVER', 'CLIENT', 'PRODUCER', 'CONSUMER']),
  status_code: z.enum(['UNSET', 'OK', 'ERROR']),
  status_message: z.string(),
  dropped_attributes_count: dropped,
  events: z.array(
    z.object({
      ...attributes,
      timestamp: iso,
      time_unix_nano: unixNano,
      name: z.string(),
      dropped_attributes_count: dropped,
    }),
  ),
  dropped_events_count: dropped,
  links: z.array(
    z.object({
      ...attributes,
      trace_id: z.string(),
      span_id: z.string(),
      trace_state: z.string(),
      flags: z.int(),
      dropped_attributes_count: dropped,
    }),
  ),
  dropped_links_count: dropped,
});

export const trace = z.object({
  ...traceFigures,
  spans: z.array(span).describe('in the order of their start'),
  meta,
}) satisfies z.ZodType<Trace>;
