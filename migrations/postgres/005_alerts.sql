-- Rules over telemetry, how each of them stands, the incidents they made, and when nobody is to be told.

CREATE TABLE alert_rules (
    id uuid PRIMARY KEY,
    tenant_id uuid NOT NULL REFERENCES tenants (id) ON DELETE CASCADE,
    name text NOT NULL,
    enabled boolean NOT NULL,
    paused boolean NOT NULL,
    -- The rule as it is written and shown, its fields in their order.
    definition json NOT NULL,
    -- It is evaluated at offset + n * interval, milliseconds since 1970.
    interval_ms bigint NOT NULL CHECK (interval_ms > 0),
    offset_ms bigint NOT NULL CHECK (offset_ms >= 0),
    created_by text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now()
);
CREATE UNIQUE INDEX alert_rules_name ON alert_rules (tenant_id, lower(name));

-- Written at each evaluation, so apart from the rule, and with room for the new version beside the old one.
CREATE TABLE alert_rule_states (
    rule_id uuid PRIMARY KEY REFERENCES alert_rules (id) ON DELETE CASCADE,
    -- What was evaluated last; 0: nothing yet. Older ticks are never written over it.
    tick bigint NOT NULL DEFAULT 0,
    -- Counts every change: who writes has to have read the one before.
    version bigint NOT NULL DEFAULT 0,
    groups jsonb NOT NULL DEFAULT '{}',
    status text NOT NULL DEFAULT 'unknown' CHECK (status IN ('unknown', 'ok', 'pending', 'firing', 'error')),
    firing integer NOT NULL DEFAULT 0,
    pending integer NOT NULL DEFAULT 0,
    -- Why it cannot be evaluated, since when (milliseconds since 1970), and whether that was told.
    error text,
    failing_ms bigint,
    failure_told boolean NOT NULL DEFAULT false,
    evaluated_at timestamptz
) WITH (fillfactor = 50);

-- Numbers of incidents are those of a tenant: one may not count another's.
CREATE TABLE alert_incident_counts (
    tenant_id uuid PRIMARY KEY REFERENCES tenants (id) ON DELETE CASCADE,
    incidents bigint NOT NULL
);

-- No foreign key to the rule: what happened outlives it.
CREATE TABLE alert_incidents (
    id uuid PRIMARY KEY,
    tenant_id uuid NOT NULL REFERENCES tenants (id) ON DELETE CASCADE,
    number bigint NOT NULL,
    rule_id uuid NOT NULL,
    rule_name text NOT NULL,
    group_key text NOT NULL,
    labels jsonb NOT NULL,
    severity text NOT NULL CHECK (severity IN ('warning', 'critical')),
    -- Null: there was no data.
    value double precision,
    operator text NOT NULL,
    threshold double precision,
    summary text NOT NULL,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    -- It fires, and its data no longer comes.
    gone_since timestamptz,
    acknowledged_at timestamptz,
    -- Id of the user or key.
    acknowledged_by text,
    resolved_at timestamptz,
    -- `recovery`, `rule` (changed, turned off or deleted), or the id of the user or key.
    resolved_by text,
    CHECK ((resolved_at IS NULL) = (resolved_by IS NULL)),
    CHECK ((acknowledged_at IS NULL) = (acknowledged_by IS NULL))
);
CREATE UNIQUE INDEX alert_incidents_open ON alert_incidents (rule_id, group_key) WHERE resolved_at IS NULL;
CREATE UNIQUE INDEX alert_incidents_number ON alert_incidents (tenant_id, number);
CREATE INDEX alert_incidents_tenant ON alert_incidents (tenant_id, created_at, id);
CREATE INDEX alert_incidents_rule ON alert_incidents (rule_id, created_at);
CREATE INDEX alert_incidents_resolved ON alert_incidents (resolved_at) WHERE resolved_at IS NOT NULL;

CREATE TABLE alert_incident_events (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    incident_id uuid NOT NULL REFERENCES alert_incidents (id) ON DELETE CASCADE,
    at timestamptz NOT NULL,
    kind text NOT NULL CHECK (kind IN ('opened', 'raised', 'lowered', 'gone', 'back', 'value', 'told', 'acknowledged', 'resolved')),
    severity text,
    value double precision,
    -- Of `told`: the notice, and what kind of one.
    notice_id uuid,
    notice_kind text,
    -- Id of the user or key who did it.
    done_by text
);
CREATE INDEX alert_incident_events_incident ON alert_incident_events (incident_id, id);

CREATE TABLE alert_silences (
    id uuid PRIMARY KEY,
    tenant_id uuid NOT NULL REFERENCES tenants (id) ON DELETE CASCADE,
    comment text NOT NULL,
    matchers jsonb NOT NULL,
    starts_at timestamptz NOT NULL,
    ends_at timestamptz NOT NULL CHECK (ends_at > starts_at),
    repeats text CHECK (repeats IN ('daily', 'weekly')),
    until timestamptz,
    created_by text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX alert_silences_tenant ON alert_silences (tenant_id, created_at, id);
