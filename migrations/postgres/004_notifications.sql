-- Where incidents are told to, and what was told to whom.

CREATE TABLE notification_channels (
    id uuid PRIMARY KEY,
    tenant_id uuid NOT NULL REFERENCES tenants (id) ON DELETE CASCADE,
    name text NOT NULL,
    kind text NOT NULL CHECK (kind IN ('email', 'slack', 'webhook', 'pagerduty', 'teams', 'discord')),
    enabled boolean NOT NULL DEFAULT true,
    -- What of its settings may be shown.
    settings jsonb NOT NULL,
    -- The rest, as JSON, encrypted with AES-256-GCM for this channel alone; null: it has none.
    secrets bytea,
    -- Which key they were encrypted with.
    key_id text,
    created_by text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    CHECK ((secrets IS NULL) = (key_id IS NULL))
);
CREATE UNIQUE INDEX notification_channels_name ON notification_channels (tenant_id, lower(name));

-- One row for each notice and channel, written in the transaction of what the notice tells.
-- No foreign key to the channel: what was told outlives it.
CREATE TABLE notification_deliveries (
    id uuid PRIMARY KEY,
    tenant_id uuid NOT NULL REFERENCES tenants (id) ON DELETE CASCADE,
    notice_id uuid NOT NULL,
    channel_id uuid NOT NULL,
    channel_name text NOT NULL,
    channel_kind text NOT NULL,
    notice jsonb NOT NULL,
    state text NOT NULL DEFAULT 'pending' CHECK (state IN ('pending', 'sent', 'failed')),
    attempts integer NOT NULL DEFAULT 0,
    -- What the receiver answered last: an HTTP status or an SMTP reply code; null: nothing.
    last_status integer,
    -- Why the last try failed, in our own words.
    last_error text,
    -- Not before: later than created_at when the receiver asked for a pause.
    due_at timestamptz NOT NULL DEFAULT now(),
    -- The job that is at it, or was last, and until when nobody else is.
    claimed_by text,
    claimed_until timestamptz,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    finished_at timestamptz
);
CREATE UNIQUE INDEX notification_deliveries_once ON notification_deliveries (notice_id, channel_id);
CREATE INDEX notification_deliveries_tenant ON notification_deliveries (tenant_id, created_at, id);
CREATE INDEX notification_deliveries_channel ON notification_deliveries (channel_id, created_at, id);
CREATE INDEX notification_deliveries_pending ON notification_deliveries (updated_at) WHERE state = 'pending';
CREATE INDEX notification_deliveries_finished ON notification_deliveries (finished_at) WHERE finished_at IS NOT NULL;
