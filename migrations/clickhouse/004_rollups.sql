-- Metrics rolled up: one row per series and hour, or day (docs/decisions/rollups.md). `timestamp` is where the hour or day
-- begins, UTC. A row holds
--   points        data points that it is made of
--   count, sum    of gauges and sums: of the values; of the others: of what was observed. NULL where that is not known
--   summed        how many of `count` are in `sum`, for the average
--   min, max      as the points have them; of histograms: of those points that tell what happened
--   last          the last value, of gauges and sums
--   increase      of sums that only grow, resets respected
--   explicit      bucket counts of histograms, a set for each set of bounds
--   exponential   bucket counts of exponential histograms, a set for each scale: indices and counts
-- An hour that is rolled up again gets the same rows with a later `version`; readers use FINAL.

CREATE TABLE IF NOT EXISTS metrics_hourly
(
    organization_id LowCardinality(String),
    workspace_id LowCardinality(String),
    tenant_id LowCardinality(String),
    timestamp DateTime('UTC') CODEC(Delta(4), ZSTD(1)),
    metric_name LowCardinality(String),
    metric_type Enum8('none' = 0, 'gauge' = 1, 'sum' = 2, 'histogram' = 3, 'exponential_histogram' = 4, 'summary' = 5),
    unit LowCardinality(String),
    aggregation_temporality Enum8('UNSPECIFIED' = 0, 'DELTA' = 1, 'CUMULATIVE' = 2),
    is_monotonic Bool,
    service_name LowCardinality(String),
    series_id UInt64 CODEC(ZSTD(1)),
    attributes Map(LowCardinality(String), String) CODEC(ZSTD(1)),
    resource_attributes Map(LowCardinality(String), LowCardinality(String)) CODEC(ZSTD(1)),
    points UInt64 CODEC(T64, ZSTD(1)),
    count Nullable(Float64) CODEC(ZSTD(1)),
    sum Nullable(Float64) CODEC(ZSTD(1)),
    summed Float64 CODEC(ZSTD(1)),
    min Nullable(Float64) CODEC(ZSTD(1)),
    max Nullable(Float64) CODEC(ZSTD(1)),
    last Float64 CODEC(ZSTD(1)),
    last_timestamp DateTime64(9, 'UTC') CODEC(Delta(8), ZSTD(1)),
    increase Nullable(Float64) CODEC(ZSTD(1)),
    explicit Array(Tuple(bounds Array(Float64), counts Array(Float64))) CODEC(ZSTD(1)),
    exponential Array(Tuple(scale Int32, zeros Float64, threshold Float64, positive Tuple(Array(Int64), Array(Float64)), negative Tuple(Array(Int64), Array(Float64)))) CODEC(ZSTD(1)),
    version UInt64 CODEC(Delta(8), ZSTD(1))
)
ENGINE = ReplacingMergeTree(version)
PARTITION BY toYYYYMM(timestamp)
PRIMARY KEY (tenant_id, metric_name, service_name, timestamp)
ORDER BY (tenant_id, metric_name, service_name, timestamp, series_id, metric_type, aggregation_temporality, is_monotonic, unit, organization_id, workspace_id)
SETTINGS index_granularity = 1024, fsync_after_insert = 1, fsync_part_directory = 1;

CREATE TABLE IF NOT EXISTS metrics_daily AS metrics_hourly
ENGINE = ReplacingMergeTree(version)
PARTITION BY toYYYYMM(timestamp)
PRIMARY KEY (tenant_id, metric_name, service_name, timestamp)
ORDER BY (tenant_id, metric_name, service_name, timestamp, series_id, metric_type, aggregation_temporality, is_monotonic, unit, organization_id, workspace_id)
SETTINGS index_granularity = 1024, fsync_after_insert = 1, fsync_part_directory = 1;

-- What is known of each hour of a tenant, the largest of each column counting:
--   touched_at      when a point was last stored that can change the hour: one of it, or of the hour before, which the first
--                   increase of a counter is counted from
--   rolled_at       the hour's rows hold all that was stored until then
--   written_at      when these rows were there
--   day_rolled_at   in the row of a day's first hour: the day's rows hold all that was written for its hours until then
--   points          data points that were rolled up
--   dropped         1: raw points of the hour were deleted; 2: its rows of metrics_hourly, too; 3: those of metrics_daily, too
CREATE TABLE IF NOT EXISTS rollup_hours
(
    organization_id LowCardinality(String),
    workspace_id LowCardinality(String),
    tenant_id LowCardinality(String),
    hour DateTime('UTC'),
    touched_at SimpleAggregateFunction(max, DateTime64(3, 'UTC')),
    rolled_at SimpleAggregateFunction(max, DateTime64(3, 'UTC')),
    written_at SimpleAggregateFunction(max, DateTime64(3, 'UTC')),
    day_rolled_at SimpleAggregateFunction(max, DateTime64(3, 'UTC')),
    points SimpleAggregateFunction(max, UInt64),
    dropped SimpleAggregateFunction(max, UInt8)
)
ENGINE = AggregatingMergeTree
PARTITION BY toYYYYMM(hour)
ORDER BY (tenant_id, hour, organization_id, workspace_id)
SETTINGS index_granularity = 1024, fsync_after_insert = 1, fsync_part_directory = 1;

-- A tenant's id is its own: grouping by it alone costs half as much on every insert.
CREATE MATERIALIZED VIEW IF NOT EXISTS mv_rollup_hours TO rollup_hours AS
SELECT organization_id, workspace_id, tenant_id, arrayJoin([hour_of, hour_of + 3600]) AS hour, now64(3, 'UTC') AS touched_at
FROM (
    SELECT any(organization_id) AS organization_id, any(workspace_id) AS workspace_id, tenant_id, toStartOfHour(timestamp) AS hour_of
    FROM telemetry_metrics
    GROUP BY tenant_id, hour_of
);

-- Of what was stored before there were rollups. After the view, so that no hour is missed.
INSERT INTO rollup_hours (organization_id, workspace_id, tenant_id, hour, touched_at)
SELECT organization_id, workspace_id, tenant_id, arrayJoin([hour_of, hour_of + 3600]) AS hour, now64(3, 'UTC') AS touched_at
FROM (
    SELECT any(organization_id) AS organization_id, any(workspace_id) AS workspace_id, tenant_id, toStartOfHour(timestamp) AS hour_of
    FROM telemetry_metrics
    GROUP BY tenant_id, hour_of
);
