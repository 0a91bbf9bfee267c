-- The hours of points are noted by the ingestion worker, before it inserts and at most twice a minute, and no more by a view on every
-- insert (docs/decisions/rollups.md). What a view noted stays.
DROP VIEW IF EXISTS mv_rollup_hours;
