-- Codecs, materialised columns, skip indexes, and the small tables that lists and single traces are answered from.
-- What each costs and gains: docs/decisions/indexes.md. Every statement bears being run twice.
-- A tenant's id is its own, so views group by it alone, which costs less than by three names.
--
-- Earlier text: 3901a55ffb3d86475f68b2ce2fcf1653593c84fde2f9bbb5a63ffc2a0f4b81b1 had views that grouped by all three ids: the same rows.

-- Ids that are random are stored as they are; what repeats is worth ZSTD; small integers are transposed.
ALTER TABLE telemetry_traces
    MODIFY COLUMN timestamp CODEC(Delta(8), ZSTD(1)),
    MODIFY COLUMN trace_id CODEC(ZSTD(1)),
    MODIFY COLUMN span_id CODEC(NONE),
    MODIFY COLUMN parent_span_id CODEC(ZSTD(1)),
    MODIFY COLUMN duration_nano CODEC(T64, LZ4),
    MODIFY COLUMN attributes CODEC(ZSTD(1)),
    MODIFY COLUMN resource_attributes CODEC(ZSTD(1)),
    MODIFY COLUMN span_name CODEC(ZSTD(1)),
    MODIFY COLUMN span_kind CODEC(ZSTD(1)),
    MODIFY COLUMN status_code CODEC(ZSTD(1));

ALTER TABLE telemetry_logs
    MODIFY COLUMN timestamp CODEC(Delta(8), ZSTD(1)),
    MODIFY COLUMN observed_timestamp CODEC(Delta(8), ZSTD(1)),
    MODIFY COLUMN trace_id CODEC(ZSTD(1)),
    MODIFY COLUMN severity_number CODEC(ZSTD(1)),
    MODIFY COLUMN severity_text CODEC(ZSTD(1)),
    MODIFY COLUMN body CODEC(ZSTD(1)),
    MODIFY COLUMN attributes CODEC(ZSTD(1)),
    MODIFY COLUMN resource_attributes CODEC(ZSTD(1));

-- A series' points lie together, so most columns are runs of one value, which ZSTD makes next to nothing of.
ALTER TABLE telemetry_metrics MODIFY SETTING default_compression_codec = 'ZSTD(1)';

ALTER TABLE telemetry_metrics
    MODIFY COLUMN timestamp CODEC(DoubleDelta, ZSTD(1)),
    MODIFY COLUMN start_timestamp CODEC(DoubleDelta, ZSTD(1)),
    MODIFY COLUMN value CODEC(Delta(8), ZSTD(1)),
    MODIFY COLUMN value_int CODEC(DoubleDelta, ZSTD(1)),
    MODIFY COLUMN attributes CODEC(ZSTD(3)),
    MODIFY COLUMN resource_attributes CODEC(ZSTD(3));

-- duration_ms is for grouping and for people: 32 bits, half of what 64 would take. Filters use duration_nano, which is exact.
ALTER TABLE telemetry_traces
    ADD COLUMN IF NOT EXISTS date Date MATERIALIZED toDate(timestamp),
    ADD COLUMN IF NOT EXISTS hour DateTime('UTC') MATERIALIZED toStartOfHour(timestamp) CODEC(ZSTD(1)),
    ADD COLUMN IF NOT EXISTS duration_ms Float32 MATERIALIZED duration_nano / 1000000.0 CODEC(ZSTD(1));

ALTER TABLE telemetry_logs
    ADD COLUMN IF NOT EXISTS date Date MATERIALIZED toDate(timestamp),
    ADD COLUMN IF NOT EXISTS hour DateTime('UTC') MATERIALIZED toStartOfHour(timestamp) CODEC(ZSTD(1));

ALTER TABLE telemetry_metrics
    ADD COLUMN IF NOT EXISTS date Date MATERIALIZED toDate(timestamp),
    ADD COLUMN IF NOT EXISTS hour DateTime('UTC') MATERIALIZED toStartOfHour(timestamp) CODEC(ZSTD(1));

-- The primary key prunes by tenant better than any index: those on the three ids have one entry per 64 granules, to cost least.
ALTER TABLE telemetry_traces
    ADD INDEX IF NOT EXISTS idx_organization_id organization_id TYPE bloom_filter(0.01) GRANULARITY 64,
    ADD INDEX IF NOT EXISTS idx_workspace_id workspace_id TYPE bloom_filter(0.01) GRANULARITY 64,
    ADD INDEX IF NOT EXISTS idx_tenant_id tenant_id TYPE bloom_filter(0.01) GRANULARITY 64,
    ADD INDEX IF NOT EXISTS idx_service_name service_name TYPE bloom_filter(0.01) GRANULARITY 1,
    ADD INDEX IF NOT EXISTS idx_trace_id_bloom trace_id TYPE bloom_filter(0.01) GRANULARITY 1,
    ADD INDEX IF NOT EXISTS idx_span_id_bloom span_id TYPE bloom_filter(0.01) GRANULARITY 1,
    ADD INDEX IF NOT EXISTS idx_parent_span_id_bloom parent_span_id TYPE bloom_filter(0.01) GRANULARITY 1,
    ADD INDEX IF NOT EXISTS idx_attributes_bloom mapValues(attributes) TYPE bloom_filter(0.01) GRANULARITY 1,
    ADD INDEX IF NOT EXISTS idx_timestamp timestamp TYPE minmax GRANULARITY 1,
    ADD INDEX IF NOT EXISTS idx_duration_minmax duration_nano TYPE minmax GRANULARITY 3,
    ADD INDEX IF NOT EXISTS idx_span_kind_set span_kind TYPE set(6) GRANULARITY 1,
    ADD INDEX IF NOT EXISTS idx_status_code_set status_code TYPE set(3) GRANULARITY 1;

ALTER TABLE telemetry_logs
    ADD INDEX IF NOT EXISTS idx_organization_id organization_id TYPE bloom_filter(0.01) GRANULARITY 64,
    ADD INDEX IF NOT EXISTS idx_workspace_id workspace_id TYPE bloom_filter(0.01) GRANULARITY 64,
    ADD INDEX IF NOT EXISTS idx_tenant_id tenant_id TYPE bloom_filter(0.01) GRANULARITY 64,
    ADD INDEX IF NOT EXISTS idx_service_name service_name TYPE bloom_filter(0.01) GRANULARITY 1,
    ADD INDEX IF NOT EXISTS idx_trace_id_bloom trace_id TYPE bloom_filter(0.01) GRANULARITY 1,
    ADD INDEX IF NOT EXISTS idx_body_bloom lower(body) TYPE text(tokenizer = 'splitByNonAlpha'),
    ADD INDEX IF NOT EXISTS idx_attributes_bloom mapValues(attributes) TYPE bloom_filter(0.01) GRANULARITY 1,
    ADD INDEX IF NOT EXISTS idx_timestamp timestamp TYPE minmax GRANULARITY 1,
    ADD INDEX IF NOT EXISTS idx_severity_number_minmax severity_number TYPE minmax GRANULARITY 3,
    ADD INDEX IF NOT EXISTS idx_severity_set severity_text TYPE set(50) GRANULARITY 1;

ALTER TABLE telemetry_metrics
    ADD INDEX IF NOT EXISTS idx_organization_id organization_id TYPE bloom_filter(0.01) GRANULARITY 64,
    ADD INDEX IF NOT EXISTS idx_workspace_id workspace_id TYPE bloom_filter(0.01) GRANULARITY 64,
    ADD INDEX IF NOT EXISTS idx_tenant_id tenant_id TYPE bloom_filter(0.01) GRANULARITY 64,
    ADD INDEX IF NOT EXISTS idx_service_name service_name TYPE bloom_filter(0.01) GRANULARITY 1,
    ADD INDEX IF NOT EXISTS idx_metric_name metric_name TYPE bloom_filter(0.01) GRANULARITY 1,
    ADD INDEX IF NOT EXISTS idx_attributes_bloom mapValues(attributes) TYPE bloom_filter(0.01) GRANULARITY 1,
    ADD INDEX IF NOT EXISTS idx_timestamp timestamp TYPE minmax GRANULARITY 1,
    ADD INDEX IF NOT EXISTS idx_value_minmax value TYPE minmax GRANULARITY 3,
    ADD INDEX IF NOT EXISTS idx_metric_type_set metric_type TYPE set(6) GRANULARITY 1;

-- Rows that were there before get the indexes in the background.
ALTER TABLE telemetry_traces
    MATERIALIZE INDEX idx_service_name, MATERIALIZE INDEX idx_trace_id_bloom, MATERIALIZE INDEX idx_span_id_bloom,
    MATERIALIZE INDEX idx_attributes_bloom, MATERIALIZE INDEX idx_duration_minmax, MATERIALIZE INDEX idx_status_code_set;

ALTER TABLE telemetry_logs
    MATERIALIZE INDEX idx_service_name, MATERIALIZE INDEX idx_trace_id_bloom, MATERIALIZE INDEX idx_body_bloom,
    MATERIALIZE INDEX idx_attributes_bloom, MATERIALIZE INDEX idx_severity_number_minmax, MATERIALIZE INDEX idx_severity_set;

ALTER TABLE telemetry_metrics
    MATERIALIZE INDEX idx_service_name, MATERIALIZE INDEX idx_metric_name, MATERIALIZE INDEX idx_attributes_bloom,
    MATERIALIZE INDEX idx_value_minmax, MATERIALIZE INDEX idx_metric_type_set;

-- In which five minutes a trace has spans: where to look for a trace of which only the id is known. The tenant is one number,
-- which costs a fraction of three names on every insert; the spans themselves are still read by the names.
CREATE TABLE IF NOT EXISTS trace_steps
(
    tenant_key UInt64,
    trace_id FixedString(16) CODEC(NONE),
    step DateTime('UTC') CODEC(ZSTD(1))
)
ENGINE = ReplacingMergeTree
PARTITION BY toYYYYMMDD(step)
ORDER BY (tenant_key, trace_id, step)
SETTINGS index_granularity = 1024, non_replicated_deduplication_window = 1000, min_rows_for_wide_part = 131072, min_parts_to_merge_at_once = 10, fsync_after_insert = 1, fsync_part_directory = 1;

CREATE MATERIALIZED VIEW IF NOT EXISTS trace_steps_of_spans TO trace_steps AS
SELECT cityHash64(organization_id, workspace_id, tenant_id) AS tenant_key, trace_id, toStartOfFiveMinutes(timestamp) AS step
FROM telemetry_traces GROUP BY tenant_key, trace_id, step;

-- What each service sent in each five minutes. Sums, which a ReplacingMergeTree cannot keep: it would show the last insert's.
CREATE TABLE IF NOT EXISTS mv_service_list
(
    organization_id LowCardinality(String),
    workspace_id LowCardinality(String),
    tenant_id LowCardinality(String),
    step DateTime('UTC'),
    service_name LowCardinality(String),
    first_seen SimpleAggregateFunction(min, DateTime64(9, 'UTC')),
    last_seen SimpleAggregateFunction(max, DateTime64(9, 'UTC')),
    metric_count SimpleAggregateFunction(sum, UInt64),
    span_count SimpleAggregateFunction(sum, UInt64),
    error_count SimpleAggregateFunction(sum, UInt64),
    log_count SimpleAggregateFunction(sum, UInt64)
)
ENGINE = AggregatingMergeTree
PARTITION BY toYYYYMMDD(step)
ORDER BY (tenant_id, workspace_id, organization_id, step, service_name)
SETTINGS non_replicated_deduplication_window = 1000, min_rows_for_wide_part = 131072, min_parts_to_merge_at_once = 10, fsync_after_insert = 1, fsync_part_directory = 1;

CREATE MATERIALIZED VIEW IF NOT EXISTS mv_service_list_of_points TO mv_service_list AS
SELECT any(organization_id) AS organization_id, any(workspace_id) AS workspace_id, tenant_id, toStartOfFiveMinutes(timestamp) AS step, service_name,
    min(timestamp) AS first_seen, max(timestamp) AS last_seen, count() AS metric_count
FROM telemetry_metrics GROUP BY tenant_id, step, service_name;

CREATE MATERIALIZED VIEW IF NOT EXISTS mv_service_list_of_spans TO mv_service_list AS
SELECT any(organization_id) AS organization_id, any(workspace_id) AS workspace_id, tenant_id, toStartOfFiveMinutes(timestamp) AS step, service_name,
    min(timestamp) AS first_seen, max(timestamp) AS last_seen, count() AS span_count, countIf(status_code = 'ERROR') AS error_count
FROM telemetry_traces GROUP BY tenant_id, step, service_name;

CREATE MATERIALIZED VIEW IF NOT EXISTS mv_service_list_of_logs TO mv_service_list AS
SELECT any(organization_id) AS organization_id, any(workspace_id) AS workspace_id, tenant_id, toStartOfFiveMinutes(timestamp) AS step, service_name,
    min(timestamp) AS first_seen, max(timestamp) AS last_seen, count() AS log_count
FROM telemetry_logs GROUP BY tenant_id, step, service_name;

-- Which metrics each service has, and when each was last seen in each hour.
CREATE TABLE IF NOT EXISTS mv_metric_list
(
    organization_id LowCardinality(String),
    workspace_id LowCardinality(String),
    tenant_id LowCardinality(String),
    hour DateTime('UTC'),
    metric_name LowCardinality(String),
    service_name LowCardinality(String),
    metric_type Enum8('none' = 0, 'gauge' = 1, 'sum' = 2, 'histogram' = 3, 'exponential_histogram' = 4, 'summary' = 5),
    unit LowCardinality(String),
    last_seen DateTime64(9, 'UTC')
)
ENGINE = ReplacingMergeTree(last_seen)
PARTITION BY toYYYYMMDD(hour)
ORDER BY (tenant_id, workspace_id, organization_id, hour, metric_name, service_name, metric_type, unit)
SETTINGS non_replicated_deduplication_window = 1000, min_rows_for_wide_part = 131072, min_parts_to_merge_at_once = 10, fsync_after_insert = 1, fsync_part_directory = 1;

CREATE MATERIALIZED VIEW IF NOT EXISTS mv_metric_list_of_points TO mv_metric_list AS
SELECT any(organization_id) AS organization_id, any(workspace_id) AS workspace_id, tenant_id, toStartOfHour(timestamp) AS hour, metric_name, service_name, metric_type, unit,
    max(timestamp) AS last_seen
FROM telemetry_metrics GROUP BY tenant_id, hour, metric_name, service_name, metric_type, unit;

-- What was there before the views. The sums begin anew, so that a file that was cut off can run again.
INSERT INTO trace_steps
SELECT cityHash64(organization_id, workspace_id, tenant_id), trace_id, toStartOfFiveMinutes(timestamp) FROM telemetry_traces
SETTINGS max_partitions_per_insert_block = 0;

INSERT INTO mv_metric_list
SELECT organization_id, workspace_id, tenant_id, toStartOfHour(timestamp) AS hour, metric_name, service_name, metric_type, unit,
    max(timestamp)
FROM telemetry_metrics GROUP BY organization_id, workspace_id, tenant_id, hour, metric_name, service_name, metric_type, unit
SETTINGS max_partitions_per_insert_block = 0;

TRUNCATE TABLE mv_service_list;

INSERT INTO mv_service_list
SELECT organization_id, workspace_id, tenant_id, toStartOfFiveMinutes(timestamp) AS step, service_name,
    min(timestamp), max(timestamp), sum(point), sum(span), sum(error), sum(record)
FROM (
    SELECT organization_id, workspace_id, tenant_id, timestamp, service_name, 1 AS point, 0 AS span, 0 AS error, 0 AS record
    FROM telemetry_metrics
    UNION ALL
    SELECT organization_id, workspace_id, tenant_id, timestamp, service_name, 0, 1, status_code = 'ERROR', 0 FROM telemetry_traces
    UNION ALL
    SELECT organization_id, workspace_id, tenant_id, timestamp, service_name, 0, 0, 0, 1 FROM telemetry_logs
)
GROUP BY organization_id, workspace_id, tenant_id, step, service_name
SETTINGS max_partitions_per_insert_block = 0;
