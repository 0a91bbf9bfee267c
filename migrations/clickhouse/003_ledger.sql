-- Where each item is: how many came in, were stored, rejected, dropped, by tenant, signal, minute of receipt and reason.
--
-- `token` names what wrote the rows: a batch, or a group of requests that were rejected whole. The same rows under the same
-- token count once, whenever and by whomever they are written again: that is this engine's rule for equal keys, read with
-- FINAL, so it needs no deduplication window (docs/decisions/ledger.md).

CREATE TABLE IF NOT EXISTS ledger
(
    organization_id LowCardinality(String),
    workspace_id LowCardinality(String),
    tenant_id LowCardinality(String),
    signal LowCardinality(String),
    minute DateTime('UTC') CODEC(Delta(4), LZ4),
    outcome LowCardinality(String),
    reason LowCardinality(String),
    token String,
    items Int64 CODEC(T64, LZ4)
)
ENGINE = ReplacingMergeTree
PARTITION BY toYYYYMMDD(minute)
ORDER BY (tenant_id, signal, minute, outcome, reason, token, organization_id, workspace_id)
TTL minute + INTERVAL 90 DAY
SETTINGS ttl_only_drop_parts = 1, fsync_after_insert = 1, fsync_part_directory = 1;
