-- Who may do what: users and their roles, API keys, sessions, quotas, and the record of what was done.

CREATE UNIQUE INDEX workspaces_name ON workspaces (organization_id, lower(name));
CREATE UNIQUE INDEX tenants_name ON tenants (workspace_id, lower(name));

-- Per day (UTC); null: no quota.
ALTER TABLE tenants ADD COLUMN items_per_day bigint CHECK (items_per_day > 0);
ALTER TABLE tenants ADD COLUMN bytes_per_day bigint CHECK (bytes_per_day > 0);

CREATE TABLE tenant_usage (
    tenant_id uuid NOT NULL REFERENCES tenants (id) ON DELETE CASCADE,
    day date NOT NULL,
    items bigint NOT NULL DEFAULT 0,
    bytes bigint NOT NULL DEFAULT 0,
    PRIMARY KEY (tenant_id, day)
);

CREATE TABLE users (
    id uuid PRIMARY KEY,
    email text NOT NULL,
    name text NOT NULL DEFAULT '',
    -- Argon2id in the PHC string format.
    password_hash text NOT NULL,
    disabled_at timestamptz,
    created_at timestamptz NOT NULL DEFAULT now()
);
CREATE UNIQUE INDEX users_email ON users (lower(email));

CREATE TABLE memberships (
    user_id uuid NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    organization_id uuid NOT NULL REFERENCES organizations (id) ON DELETE CASCADE,
    role text NOT NULL CHECK (role IN ('owner', 'admin', 'editor', 'viewer')),
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (user_id, organization_id)
);
CREATE INDEX memberships_organization_id ON memberships (organization_id);

CREATE TABLE api_keys (
    id uuid PRIMARY KEY,
    tenant_id uuid NOT NULL REFERENCES tenants (id) ON DELETE CASCADE,
    name text NOT NULL,
    -- The readable beginning of the key: finds the row, is shown in lists, and is no secret.
    prefix text NOT NULL UNIQUE,
    -- SHA-256 of the whole key, which has 256 random bits.
    key_hash bytea NOT NULL,
    permissions text[] NOT NULL CHECK (permissions <@ ARRAY['ingest', 'read', 'write', 'admin']),
    -- {"default": {"limit": 100, "ttl_ms": 60000}, "ingestion": {...}}; null or a missing profile: the program's settings.
    limits jsonb,
    expires_at timestamptz,
    revoked_at timestamptz,
    created_by text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX api_keys_tenant_id ON api_keys (tenant_id);

-- Apart from api_keys, so that noting a use changes no row that decides anything.
CREATE TABLE api_key_uses (
    api_key_id uuid PRIMARY KEY REFERENCES api_keys (id) ON DELETE CASCADE,
    last_used_at timestamptz NOT NULL
);

CREATE TABLE sessions (
    id uuid PRIMARY KEY,
    user_id uuid NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    remote_address text NOT NULL,
    user_agent text NOT NULL DEFAULT '',
    created_at timestamptz NOT NULL DEFAULT now(),
    expires_at timestamptz NOT NULL,
    revoked_at timestamptz
);
CREATE INDEX sessions_user_id ON sessions (user_id);

-- Each refresh token works once; one that comes a second time has been stolen, and ends its session.
CREATE TABLE refresh_tokens (
    token_hash bytea PRIMARY KEY,
    session_id uuid NOT NULL REFERENCES sessions (id) ON DELETE CASCADE,
    created_at timestamptz NOT NULL DEFAULT now(),
    used_at timestamptz
);
CREATE INDEX refresh_tokens_session_id ON refresh_tokens (session_id);

-- Grows by one, in the same transaction, whenever something changes that decides who may do what. Processes keep what
-- they know of keys and sessions for as long as this number stays the same.
CREATE TABLE access_version (
    is_only boolean PRIMARY KEY DEFAULT true CHECK (is_only),
    version bigint NOT NULL
);
INSERT INTO access_version (version) VALUES (1);

CREATE FUNCTION bump_access_version() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE access_version SET version = version + 1;
    RETURN NULL;
END
$$;

CREATE TRIGGER organizations_access AFTER UPDATE OR DELETE ON organizations
    FOR EACH STATEMENT EXECUTE FUNCTION bump_access_version();
CREATE TRIGGER workspaces_access AFTER UPDATE OR DELETE ON workspaces
    FOR EACH STATEMENT EXECUTE FUNCTION bump_access_version();
CREATE TRIGGER tenants_access AFTER INSERT OR UPDATE OR DELETE ON tenants
    FOR EACH STATEMENT EXECUTE FUNCTION bump_access_version();
CREATE TRIGGER users_access AFTER UPDATE OR DELETE ON users
    FOR EACH STATEMENT EXECUTE FUNCTION bump_access_version();
CREATE TRIGGER memberships_access AFTER INSERT OR UPDATE OR DELETE ON memberships
    FOR EACH STATEMENT EXECUTE FUNCTION bump_access_version();
-- Inserts too: a key that was presented before it was made is known to be unknown.
CREATE TRIGGER api_keys_access AFTER INSERT OR UPDATE OR DELETE ON api_keys
    FOR EACH STATEMENT EXECUTE FUNCTION bump_access_version();
CREATE TRIGGER sessions_access AFTER UPDATE OR DELETE ON sessions
    FOR EACH STATEMENT EXECUTE FUNCTION bump_access_version();

-- No foreign keys: the record outlives what it speaks of.
CREATE TABLE audit_log (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at timestamptz NOT NULL DEFAULT now(),
    -- Whose record it is; null: of no organization, such as a login that failed.
    organization_id uuid,
    tenant_id uuid,
    actor_kind text NOT NULL CHECK (actor_kind IN ('user', 'key', 'anonymous', 'system')),
    actor_id text NOT NULL,
    actor_name text NOT NULL,
    action text NOT NULL,
    target_kind text NOT NULL,
    target_id text NOT NULL,
    target_name text NOT NULL,
    remote_address text NOT NULL,
    correlation_id text NOT NULL,
    result text NOT NULL CHECK (result IN ('ok', 'refused', 'failed')),
    details jsonb NOT NULL DEFAULT '{}'
);
CREATE INDEX audit_log_organization ON audit_log (organization_id, id DESC);
-- A time range long ago, or one with few rows, is not looked for through all that came after.
CREATE INDEX audit_log_organization_at ON audit_log (organization_id, at);

CREATE FUNCTION refuse_audit_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'audit_log is append-only';
END
$$;
CREATE TRIGGER audit_log_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON audit_log
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_audit_change();
