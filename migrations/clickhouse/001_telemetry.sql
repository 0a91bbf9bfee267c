-- The three telemetry tables: one row per span, log record and metric data point.
--
-- Attribute values are text, so that any value can be searched the same way; beside each attribute map stands its
-- type signature, one character per entry in the map's order, so that what went in can be read back exactly:
--   s string, b bool, i 64-bit integer, d double, y bytes (base64), n empty, [..] array, {..} key-value list
--   (arrays and lists are JSON text, the signature holds their members' types).
-- Times are stored with all 64 bits that OTLP carries; only `timestamp`, which is bounded by the retention, is used
-- for partitions and order.
--
-- An insert's part is compact, which is cheap to write; from 131,072 rows on parts are wide, so that merges can go column
-- by column; and ten parts are merged at once rather than a few again and again (docs/decisions/storage.md).
--
-- Within five minutes a service's rows lie as they came in, which is nearly by time: a merge then copies runs of rows, not one
-- row here and one there, for half of the cost (docs/decisions/storage.md).
--
-- An insert is on disk when it is answered (fsync), because the journal then lets go of its rows.
--
-- Earlier text: e93ce3db82f945b72e6decc5fb488ba1c0541744f50cd58de365dac336e904de ordered by `timestamp`, too: as good, with dearer merges.

CREATE TABLE IF NOT EXISTS telemetry_traces
(
    organization_id LowCardinality(String),
    workspace_id LowCardinality(String),
    tenant_id LowCardinality(String),
    timestamp DateTime64(9, 'UTC') CODEC(Delta(8), LZ4),
    trace_id FixedString(16),
    span_id FixedString(8),
    parent_span_id FixedString(8),
    trace_state String,
    flags UInt32,
    service_name LowCardinality(String),
    span_name LowCardinality(String),
    span_kind Enum8('UNSPECIFIED' = 0, 'INTERNAL' = 1, 'SERVER' = 2, 'CLIENT' = 3, 'PRODUCER' = 4, 'CONSUMER' = 5),
    duration_nano Int64,
    status_code Enum8('UNSET' = 0, 'OK' = 1, 'ERROR' = 2),
    status_message String,
    attributes Map(LowCardinality(String), String),
    attribute_types LowCardinality(String),
    dropped_attributes_count UInt32,
    `events.timestamp` Array(DateTime64(9, 'UTC')),
    `events.name` Array(LowCardinality(String)),
    `events.attributes` Array(Map(LowCardinality(String), String)),
    `events.attribute_types` Array(LowCardinality(String)),
    `events.dropped_attributes_count` Array(UInt32),
    dropped_events_count UInt32,
    `links.trace_id` Array(FixedString(16)),
    `links.span_id` Array(FixedString(8)),
    `links.trace_state` Array(String),
    `links.flags` Array(UInt32),
    `links.attributes` Array(Map(LowCardinality(String), String)),
    `links.attribute_types` Array(LowCardinality(String)),
    `links.dropped_attributes_count` Array(UInt32),
    dropped_links_count UInt32,
    resource_attributes Map(LowCardinality(String), LowCardinality(String)),
    resource_attribute_types LowCardinality(String),
    resource_dropped_attributes_count UInt32,
    resource_schema_url LowCardinality(String),
    scope_name LowCardinality(String),
    scope_version LowCardinality(String),
    scope_attributes Map(LowCardinality(String), LowCardinality(String)),
    scope_attribute_types LowCardinality(String),
    scope_dropped_attributes_count UInt32,
    scope_schema_url LowCardinality(String)
)
ENGINE = MergeTree
PARTITION BY toYYYYMMDD(timestamp)
ORDER BY (tenant_id, toStartOfFiveMinutes(timestamp), service_name)
SETTINGS non_replicated_deduplication_window = 1000, min_rows_for_wide_part = 131072, min_parts_to_merge_at_once = 10, fsync_after_insert = 1, fsync_part_directory = 1;

CREATE TABLE IF NOT EXISTS telemetry_logs
(
    organization_id LowCardinality(String),
    workspace_id LowCardinality(String),
    tenant_id LowCardinality(String),
    timestamp DateTime64(9, 'UTC') CODEC(Delta(8), LZ4),
    timestamp_source Enum8('time' = 0, 'observed' = 1, 'received' = 2),
    observed_timestamp DateTime64(9, 'UTC'),
    trace_id FixedString(16),
    span_id FixedString(8),
    flags UInt32,
    severity_number Int32,
    severity_text LowCardinality(String),
    service_name LowCardinality(String),
    event_name LowCardinality(String),
    body String,
    body_type LowCardinality(String),
    attributes Map(LowCardinality(String), String),
    attribute_types LowCardinality(String),
    dropped_attributes_count UInt32,
    resource_attributes Map(LowCardinality(String), LowCardinality(String)),
    resource_attribute_types LowCardinality(String),
    resource_dropped_attributes_count UInt32,
    resource_schema_url LowCardinality(String),
    scope_name LowCardinality(String),
    scope_version LowCardinality(String),
    scope_attributes Map(LowCardinality(String), LowCardinality(String)),
    scope_attribute_types LowCardinality(String),
    scope_dropped_attributes_count UInt32,
    scope_schema_url LowCardinality(String)
)
ENGINE = MergeTree
PARTITION BY toYYYYMMDD(timestamp)
ORDER BY (tenant_id, toStartOfFiveMinutes(timestamp), service_name)
SETTINGS non_replicated_deduplication_window = 1000, min_rows_for_wide_part = 131072, min_parts_to_merge_at_once = 10, fsync_after_insert = 1, fsync_part_directory = 1;

CREATE TABLE IF NOT EXISTS telemetry_metrics
(
    organization_id LowCardinality(String),
    workspace_id LowCardinality(String),
    tenant_id LowCardinality(String),
    timestamp DateTime64(9, 'UTC') CODEC(DoubleDelta, LZ4),
    start_timestamp DateTime64(9, 'UTC') CODEC(Delta(8), LZ4),
    service_name LowCardinality(String),
    metric_name LowCardinality(String),
    metric_type Enum8('none' = 0, 'gauge' = 1, 'sum' = 2, 'histogram' = 3, 'exponential_histogram' = 4, 'summary' = 5),
    unit LowCardinality(String),
    description LowCardinality(String),
    metric_metadata Map(LowCardinality(String), LowCardinality(String)),
    metric_metadata_types LowCardinality(String),
    aggregation_temporality Enum8('UNSPECIFIED' = 0, 'DELTA' = 1, 'CUMULATIVE' = 2),
    is_monotonic Bool,
    series_id UInt64 MATERIALIZED cityHash64(service_name, attributes, scope_name, resource_attributes),
    attributes Map(LowCardinality(String), String),
    attribute_types LowCardinality(String),
    flags UInt32,
    value Float64,
    value_int Int64,
    value_type Enum8('none' = 0, 'double' = 1, 'int' = 2),
    count UInt64,
    sum Nullable(Float64),
    min Nullable(Float64),
    max Nullable(Float64),
    explicit_bounds Array(Float64),
    bucket_counts Array(UInt64),
    scale Int32,
    zero_count UInt64,
    zero_threshold Float64,
    positive_offset Int32,
    positive_bucket_counts Array(UInt64),
    negative_offset Int32,
    negative_bucket_counts Array(UInt64),
    quantiles Array(Float64),
    quantile_values Array(Float64),
    `exemplars.timestamp` Array(DateTime64(9, 'UTC')),
    `exemplars.value` Array(Float64),
    `exemplars.value_int` Array(Int64),
    `exemplars.value_type` Array(Enum8('none' = 0, 'double' = 1, 'int' = 2)),
    `exemplars.trace_id` Array(FixedString(16)),
    `exemplars.span_id` Array(FixedString(8)),
    `exemplars.attributes` Array(Map(LowCardinality(String), String)),
    `exemplars.attribute_types` Array(LowCardinality(String)),
    resource_attributes Map(LowCardinality(String), LowCardinality(String)),
    resource_attribute_types LowCardinality(String),
    resource_dropped_attributes_count UInt32,
    resource_schema_url LowCardinality(String),
    scope_name LowCardinality(String),
    scope_version LowCardinality(String),
    scope_attributes Map(LowCardinality(String), LowCardinality(String)),
    scope_attribute_types LowCardinality(String),
    scope_dropped_attributes_count UInt32,
    scope_schema_url LowCardinality(String)
)
ENGINE = MergeTree
PARTITION BY toYYYYMMDD(timestamp)
ORDER BY (tenant_id, metric_name, service_name, series_id, timestamp)
SETTINGS non_replicated_deduplication_window = 1000, min_rows_for_wide_part = 131072, min_parts_to_merge_at_once = 10, fsync_after_insert = 1, fsync_part_directory = 1;
