import type { ClickHouse } from '../connections/clickhouse.js';
import type { Scope } from '../edge/scope.js';
import type { AttributeFilter } from '../http/request.schema.js';
import type { TimeRange } from '../http/time.js';
import type { Page, PageRequest } from '../store/page.js';
import { ORIGIN_COLUMNS, ORIGIN_IDENTITY, type Origin, type OriginRow, originOf } from '../store/resource.js';
import { restrictByAttributes, TELEMETRY_TABLES } from '../store/statement.js';
import { type OrderedRow, readTimeOrdered } from '../store/time-ordered.js';
import {
  type Attributes,
  decodeAttributes,
  exactDouble,
  exactDoubleOrNull,
  exactInt,
  hexId,
  nanosToIso,
} from '../store/values.js';

export interface PointQuestion {
  metric?: string;
  services: string[];
  attributes: AttributeFilter[];
  order: 'asc' | 'desc';
}

export type MetricType = 'none' | 'gauge' | 'sum' | 'histogram' | 'exponential_histogram' | 'summary';
type NumberType = 'none' | 'double' | 'int';
/** A double or 64-bit integer that may be beyond what JSON numbers hold: see values.ts. */
type Exact = number | string;

export interface Exemplar extends Attributes {
  timestamp: string;
  time_unix_nano: string;
  value: Exact | null;
  value_type: NumberType;
  trace_id: string;
  span_id: string;
}

/** One data point with every field OTLP gives its kind of metric; fields of other kinds are left out. */
export interface MetricPoint extends Attributes, Origin {
  timestamp: string;
  time_unix_nano: string;
  start_time_unix_nano: string;
  service_name: string;
  metric_name: string;
  metric_type: MetricType;
  unit: string;
  description: string;
  metadata: Attributes['attributes'];
  metadata_types: Attributes['attribute_types'];
  series_id: string;
  flags: number;
  /** Sums and histograms. */
  aggregation_temporality?: 'UNSPECIFIED' | 'DELTA' | 'CUMULATIVE';
  is_monotonic?: boolean;
  /** Gauges and sums; null with type none when the point has no value. */
  value?: Exact | null;
  value_type?: NumberType;
  /** Histograms and summaries: decimal digits, as all counts. */
  count?: string;
  sum?: Exact | null;
  min?: Exact | null;
  max?: Exact | null;
  explicit_bounds?: Exact[];
  bucket_counts?: string[];
  scale?: number;
  zero_count?: string;
  zero_threshold?: Exact;
  positive?: { offset: number; bucket_counts: string[] };
  negative?: { offset: number; bucket_counts: string[] };
  quantile_values?: { quantile: Exact; value: Exact }[];
  exemplars?: Exemplar[];
}

/** Data points as they were sent, newest first (or oldest). */
export function listMetricPoints(
  scope: Scope,
  clickhouse: ClickHouse,
  question: PointQuestion,
  range: TimeRange,
  page: PageRequest,
  signal?: AbortSignal,
): Promise<Page<MetricPoint>> {
  const { order, metric, services, attributes } = question;
  return readTimeOrdered<PointRow, MetricPoint>(
    scope,
    clickhouse,
    {
      name: 'metric-points',
      table: TELEMETRY_TABLES.metrics,
      keyedBySteps: false,
      columns: COLUMNS,
      identity: IDENTITY,
      order,
      filters: [metric, services, attributes],
      restrict(where) {
        if (metric !== undefined) where.and(`metric_name = ${where.bind('String', metric)}`);
        if (services.length > 0) where.and(`service_name IN ${where.bind('Array(String)', services)}`);
        restrictByAttributes(where, attributes);
      },
      decode,
    },
    range,
    page,
    signal,
  );
}

const IDENTITY = `start_timestamp, service_name, metric_name, metric_type, unit, description, metric_metadata,
  metric_metadata_types, aggregation_temporality, is_monotonic, attributes, attribute_types, flags, value,
  value_int, value_type, count, sum, min, max, explicit_bounds, bucket_counts, scale, zero_count,
  zero_threshold, positive_offset, positive_bucket_counts, negative_offset, negative_bucket_counts,
  quantiles, quantile_values, exemplars.timestamp, exemplars.value, exemplars.value_int,
  exemplars.value_type, exemplars.trace_id, exemplars.span_id, exemplars.attributes,
  exemplars.attribute_types, ${ORIGIN_IDENTITY}`;

const texts = (column: string) => `arrayMap(x -> toString(x), ${column})`;

const COLUMNS = `toString(reinterpretAsUInt64(start_timestamp)) AS start_time_unix_nano, service_name, metric_name,
  metric_type, unit, description, mapKeys(metric_metadata) AS metadata_keys, mapValues(metric_metadata) AS metadata_values,
  metric_metadata_types, aggregation_temporality, is_monotonic, toString(series_id) AS series,
  mapKeys(attributes) AS attribute_keys, mapValues(attributes) AS attribute_values, attribute_types, flags,
  toString(value) AS value_text, toString(value_int) AS value_int_text, value_type, toString(count) AS count_text,
  toString(sum) AS sum_text, toString(min) AS min_text, toString(max) AS max_text,
  ${texts('explicit_bounds')} AS bound_texts, ${texts('bucket_counts')} AS bucket_texts, scale,
  toString(zero_count) AS zero_count_text, toString(zero_threshold) AS zero_threshold_text,
  positive_offset, ${texts('positive_bucket_counts')} AS positive_texts,
  negative_offset, ${texts('negative_bucket_counts')} AS negative_texts,
  ${texts('quantiles')} AS quantile_texts, ${texts('quantile_values')} AS quantile_value_texts,
  arrayMap(t -> toString(reinterpretAsUInt64(t)), exemplars.timestamp) AS exemplar_nanos,
  arrayMap((kind, d, i) -> if(kind = 'int', toString(i), toString(d)),
    exemplars.value_type, exemplars.value, exemplars.value_int) AS exemplar_values,
  exemplars.value_type AS exemplar_value_types,
  arrayMap(x -> hex(x), exemplars.trace_id) AS exemplar_traces, arrayMap(x -> hex(x), exemplars.span_id) AS exemplar_spans,
  arrayMap(m -> mapKeys(m), exemplars.attributes) AS exemplar_keys,
  arrayMap(m -> mapValues(m), exemplars.attributes) AS exemplar_attribute_values,
  exemplars.attribute_types AS exemplar_types, ${ORIGIN_COLUMNS}`;

interface PointRow extends OrderedRow, OriginRow {
  start_time_unix_nano: string;
  service_name: string;
  metric_name: string;
  metric_type: MetricType;
  unit: string;
  description: string;
  metadata_keys: string[];
  metadata_values: string[];
  metric_metadata_types: string;
  aggregation_temporality: 'UNSPECIFIED' | 'DELTA' | 'CUMULATIVE';
  is_monotonic: boolean;
  series: string;
  attribute_keys: string[];
  attribute_values: string[];
  attribute_types: string;
  flags: number;
  value_text: string;
  value_int_text: string;
  value_type: NumberType;
  count_text: string;
  sum_text: string | null;
  min_text: string | null;
  max_text: string | null;
  bound_texts: string[];
  bucket_texts: string[];
  scale: number;
  zero_count_text: string;
  zero_threshold_text: string;
  positive_offset: number;
  positive_texts: string[];
  negative_offset: number;
  negative_texts: string[];
  quantile_texts: string[];
  quantile_value_texts: string[];
  exemplar_nanos: string[];
  exemplar_values: string[];
  exemplar_value_types: NumberType[];
  exemplar_traces: string[];
  exemplar_spans: string[];
  exemplar_keys: string[][];
  exemplar_attribute_values: string[][];
  exemplar_types: string[];
}

function decode(row: PointRow): MetricPoint {
  const metadata = decodeAttributes(row.metadata_keys, row.metadata_values, row.metric_metadata_types);
  return {
    timestamp: nanosToIso(row.time_unix_nano),
    time_unix_nano: row.time_unix_nano,
    start_time_unix_nano: row.start_time_unix_nano,
    service_name: row.service_name,
    metric_name: row.metric_name,
    metric_type: row.metric_type,
    unit: row.unit,
    description: row.description,
    metadata: metadata.attributes,
    metadata_types: metadata.attribute_types,
    series_id: row.series,
    ...decodeAttributes(row.attribute_keys, row.attribute_values, row.attribute_types),
    flags: row.flags,
    ...decodeData(row),
    ...originOf(row),
  };
}

/** What is special to the metric's kind. */
function decodeData(row: PointRow): Partial<MetricPoint> {
  const { aggregation_temporality } = row;
  const histogram = {
    aggregation_temporality,
    count: row.count_text,
    sum: exactDoubleOrNull(row.sum_text),
    min: exactDoubleOrNull(row.min_text),
    max: exactDoubleOrNull(row.max_text),
  };
  switch (row.metric_type) {
    case 'gauge':
      return { ...decodeNumber(row), exemplars: decodeExemplars(row) };
    case 'sum':
      return {
        aggregation_temporality,
        is_monotonic: row.is_monotonic,
        ...decodeNumber(row),
        exemplars: decodeExemplars(row),
      };
    case 'histogram':
      return {
        ...histogram,
        explicit_bounds: row.bound_texts.map(exactDouble),
        bucket_counts: row.bucket_texts,
        exemplars: decodeExemplars(row),
      };
    case 'exponential_histogram':
      return {
        ...histogram,
        scale: row.scale,
        zero_count: row.zero_count_text,
        zero_threshold: exactDouble(row.zero_threshold_text),
        positive: { offset: row.positive_offset, bucket_counts: row.positive_texts },
        negative: { offset: row.negative_offset, bucket_counts: row.negative_texts },
        exemplars: decodeExemplars(row),
      };
    case 'summary': {
      const quantiles = row.quantile_texts.map((quantile, i) => ({
        quantile: exactDouble(quantile),
        value: exactDouble(row.quantile_value_texts[i]),
      }));
      return { count: row.count_text, sum: exactDoubleOrNull(row.sum_text), quantile_values: quantiles };
    }
    default:
      return {};
  }
}

function decodeNumber(row: PointRow): Pick<MetricPoint, 'value' | 'value_type'> {
  const text = row.value_type === 'int' ? row.value_int_text : row.value_text;
  return { value: exactNumber(text, row.value_type), value_type: row.value_type };
}

function exactNumber(text: string, type: NumberType): Exact | null {
  if (type === 'none') return null;
  return type === 'int' ? exactInt(text) : exactDouble(text);
}

function decodeExemplars(row: PointRow): Exemplar[] {
  return row.exemplar_nanos.map((nanos, i) => ({
    timestamp: nanosToIso(nanos),
    time_unix_nano: nanos,
    value: exactNumber(row.exemplar_values[i], row.exemplar_value_types[i]),
    value_type: row.exemplar_value_types[i],
    trace_id: hexId(row.exemplar_traces[i]),
    span_id: hexId(row.exemplar_spans[i]),
    ...decodeAttributes(row.exemplar_keys[i], row.exemplar_attribute_values[i], row.exemplar_types[i]),
  }));
}
