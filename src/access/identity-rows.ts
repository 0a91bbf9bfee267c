import type { DataSource, EntityManager } from 'typeorm';
import type { Permission, Principal, Role } from '../edge/principal.js';
import type { Scope } from '../edge/scope.js';
import type { StoredLimits } from '../tenants/api-key.js';

/** What PostgreSQL knows of a key. Plain data, as it is kept in the cache. */
export interface KeyRow {
  id: string;
  name: string;
  /** SHA-256, base64. */
  hash: string;
  permissions: Permission[];
  limits: StoredLimits | null;
  /** Unix milliseconds. */
  expiresAtMs: number | null;
  isRevoked: boolean;
  scope: Scope;
}

/** What PostgreSQL knows of a session: whose it is, and all the tenants of that user's organizations. Plain data, as it is kept in the cache. */
export interface SessionRow {
  userId: string;
  email: string;
  /** Unix milliseconds. */
  expiresAtMs: number;
  /** Or its user is disabled. */
  isEnded: boolean;
  /** As `readReach` sorts them. */
  reach: { scope: Scope; role: Role }[];
}

const SCOPE = `w.organization_id AS "organizationId", w.id AS "workspaceId", t.id AS "tenantId"`;
const VERSION = 'SELECT version::text AS version FROM access_version';
const KEYS = `SELECT k.prefix, k.id, k.name, encode(k.key_hash, 'base64') AS hash, k.permissions, k.limits,
    (extract(epoch FROM k.expires_at) * 1000)::float8 AS "expiresAtMs", k.revoked_at IS NOT NULL AS "isRevoked", ${SCOPE}
  FROM api_keys k JOIN tenants t ON t.id = k.tenant_id JOIN workspaces w ON w.id = t.workspace_id
  WHERE k.prefix = ANY($1)`;
const SESSIONS = `SELECT s.id, s.user_id AS "userId", u.email, (extract(epoch FROM s.expires_at) * 1000)::float8 AS "expiresAtMs",
    s.revoked_at IS NOT NULL OR u.disabled_at IS NOT NULL AS "isEnded"
  FROM sessions s JOIN users u ON u.id = s.user_id
  WHERE s.id = ANY($1)`;
/** Whoever adds a user to another organization must not change where its login acts: data would go to that one. */
const FIRST_OWN = 'm.created_at, m.organization_id, t.is_default DESC, t.created_at, t.id';
const REACH = `SELECT m.user_id AS "userId", m.role, ${SCOPE}
  FROM memberships m JOIN workspaces w ON w.organization_id = m.organization_id JOIN tenants t ON t.workspace_id = w.id
  WHERE m.user_id = ANY($1)
  ORDER BY ${FIRST_OWN}`;

/** The number that grows whenever something changes that decides who may do what. */
export async function readVersion(source: DataSource): Promise<string> {
  const [row] = await source.query<{ version: string }[]>(VERSION);
  return row.version;
}

/** Keys by prefix. */
export async function readKeys(source: DataSource, prefixes: string[]): Promise<Map<string, KeyRow>> {
  const rows = await source.query<(Omit<KeyRow, 'scope'> & Scope & { prefix: string })[]>(KEYS, [prefixes]);
  return new Map(
    rows.map(({ prefix, organizationId, workspaceId, tenantId, ...row }) => [
      prefix,
      { ...row, scope: { organizationId, workspaceId, tenantId } },
    ]),
  );
}

/** Sessions by id. Two statements: a change between them has grown the version, and so they are asked for again. */
export async function readSessions(source: DataSource, ids: string[]): Promise<Map<string, SessionRow>> {
  const sessions = await source.query<(Omit<SessionRow, 'reach'> & { id: string })[]>(SESSIONS, [ids]);
  const users = [...new Set(sessions.map(({ userId }) => userId))];
  const reach = await readReach(source, users);
  const ofUser = (id: string) =>
    reach.filter(({ userId }) => userId === id).map(({ scope, role }) => ({ scope, role }));
  return new Map(sessions.map(({ id, ...row }) => [id, { ...row, reach: ofUser(row.userId) }]));
}

/**
 * All tenants that users reach, and as what: of each user those of the organization that it has belonged to the longest
 * first; among these the default tenant, then the oldest.
 */
export async function readReach(
  source: DataSource | EntityManager,
  userIds: string[],
): Promise<{ userId: string; scope: Scope; role: Role }[]> {
  const rows = await source.query<(Scope & { userId: string; role: Role })[]>(REACH, [userIds]);
  return rows.map((row) => ({ userId: row.userId, role: row.role, scope: scopeOf(row) }));
}

const scopeOf = ({ organizationId, workspaceId, tenantId }: Scope): Scope => ({
  organizationId,
  workspaceId,
  tenantId,
});

const TENANTS = `SELECT t.id, t.name, t.workspace_id, w.name AS workspace_name, w.organization_id, m.role
  FROM memberships m JOIN workspaces w ON w.organization_id = m.organization_id JOIN tenants t ON t.workspace_id = w.id
  WHERE m.user_id = $1 ORDER BY ${FIRST_OWN}`;

/** What `GET /auth/me` shows: of a user its organizations and the tenants it may choose among, of a key its name. */
export async function whoIs(source: DataSource, { kind, id, name }: Principal) {
  if (kind !== 'user') return { key: { id, name } };
  const [[user], organizations, tenants] = await Promise.all([
    source.query<{ id: string; email: string; name: string }[]>(
      'SELECT id, email, name FROM users WHERE id = $1',
      [id],
    ),
    source.query<{ id: string; name: string; role: Role }[]>(
      `SELECT o.id, o.name, m.role FROM memberships m JOIN organizations o ON o.id = m.organization_id
       WHERE m.user_id = $1 ORDER BY o.created_at, o.id`,
      [id],
    ),
    source.query<Record<string, string>[]>(TENANTS, [id]),
  ]);
  return { user, organizations, tenants };
}
