-- How long a tenant's data is kept, and how much of it, where that differs from the settings. No foreign key: what a deleted
-- tenant has stored still ages by its own rules.
CREATE TABLE tenant_retention (
    tenant_id uuid NOT NULL,
    data_type text NOT NULL CHECK (data_type IN ('metrics', 'metrics_hourly', 'metrics_daily', 'logs', 'traces')),
    days integer CHECK (days BETWEEN 1 AND 3650),
    max_bytes bigint CHECK (max_bytes > 0),
    PRIMARY KEY (tenant_id, data_type)
);

-- Rows of the store that are being dropped: noted with their counts before they go, deleted when they are gone. What is
-- found here at the next run was cut off, and is carried out to its end with the same token, so that it counts once.
CREATE TABLE expirations (
    token text PRIMARY KEY,
    table_name text NOT NULL,
    partition_id text NOT NULL,
    -- Those of these tenants, or of all but these.
    is_except boolean NOT NULL,
    tenant_ids text[] NOT NULL,
    reason text NOT NULL,
    -- [{"scope": {...}, "hourMs": 0, "rows": 0}]
    counts jsonb NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now()
);
