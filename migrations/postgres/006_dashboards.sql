-- Dashboards: panels, each with a question that the query API answers.

CREATE TABLE dashboards (
    id uuid PRIMARY KEY,
    tenant_id uuid NOT NULL REFERENCES tenants (id) ON DELETE CASCADE,
    name text NOT NULL,
    description text NOT NULL DEFAULT '',
    -- The time range that is shown at first, as `from` of a question: now-1h.
    time_range text NOT NULL,
    refresh_seconds integer NOT NULL,
    panels jsonb NOT NULL,
    -- Counts changes, so that of two who change the same one the second sees that there was a first.
    version integer NOT NULL DEFAULT 1,
    created_by text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now()
);
CREATE UNIQUE INDEX dashboards_name ON dashboards (tenant_id, lower(name));
