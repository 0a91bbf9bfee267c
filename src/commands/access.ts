import { userInfo } from 'node:os';
import type { ParseArgsConfig } from 'node:util';
import type { DataSource } from 'typeorm';
import { makePassword, systemPrincipal } from '../access/first-start.js';
import { readReach } from '../access/identity-rows.js';
import { setPassword } from '../access/session-rows.js';
import type { Config } from '../config.js';
import type { AuditEvent } from '../edge/audit.js';
import { PERMISSIONS, type Permission } from '../edge/principal.js';
import type { Scope } from '../edge/scope.js';
import { StartupError } from '../errors.js';
import { createLogger } from '../log.js';
import { createApiKey } from '../tenants/api-key.js';
import { PostgresAudit } from '../tenants/audit-trail.js';
import { hashPassword } from '../tenants/password.js';
import { parseArguments } from './arguments.js';
import { withDatabase } from './database.js';
import { table } from './table.js';

export const ACCESS_USAGE = `telemetryflow keys create [--name <name>] [--permissions ingest,read] [--tenant <id>] [--expires-in 90d]
telemetryflow keys list
telemetryflow keys revoke <id or prefix>
telemetryflow users reset-password <e-mail address>

Permissions are ${PERMISSIONS.join(', ')}; times 30m, 12h, 90d; without --tenant it is the default tenant. With the
settings of the server: DATABASE_URL, or DATA_DIR, whether the server runs or not.
`;

const UNIT_MS = { m: 60_000, h: 3_600_000, d: 86_400_000 };
const MAX_NAME = 200;
const usage = (problem: string) => new StartupError(`${problem}\n\n${ACCESS_USAGE}`);

/**
 * `telemetryflow keys ...` and `telemetryflow users ...`; prints what it did.
 *
 * @throws StartupError when it is not one of these, or the database cannot be reached
 */
export async function accessCommand(config: Config, room: string, args: string[]): Promise<void> {
  const [verb, ...rest] = args;
  const command = COMMANDS[`${room} ${verb}`];
  if (!command) throw usage(`Unknown command: ${[room, verb].filter(Boolean).join(' ')}`);
  const run = command(rest);
  for (const line of await withDatabase(config, run)) console.log(line);
}

type Command = (args: string[]) => (source: DataSource) => Promise<string[]>;

const COMMANDS: Record<string, Command> = {
  'keys create': keysCreate,
  'keys list': keysList,
  'keys revoke': keysRevoke,
  'users reset-password': usersResetPassword,
};

function parse<const T extends NonNullable<ParseArgsConfig['options']>>(args: string[], options: T) {
  return parseArguments({ args, options, allowPositionals: true }, usage);
}

function oneArgument(args: string[], what: string): string {
  const { positionals } = parse(args, {});
  if (positionals.length !== 1) throw usage(`Expected ${what}.`);
  return positionals[0];
}

function keysCreate(args: string[]) {
  const text = { type: 'string' } as const;
  const options = { name: text, permissions: text, tenant: text, 'expires-in': text };
  const { values, positionals } = parse(args, options);
  if (positionals.length > 0) throw usage(`Unexpected: ${positionals.join(' ')}`);
  const permissions = permissionsOf(values.permissions ?? 'ingest');
  const expiresAt =
    values['expires-in'] === undefined ? undefined : expiryOf(values['expires-in'], Date.now());
  const { name = 'made on the command line' } = values;
  if (name === '' || name.length > MAX_NAME) throw usage(`--name: expected 1 to ${MAX_NAME} characters`);
  return async (source: DataSource) => {
    const scope = await findTenant(source, values.tenant);
    const { tenantId } = scope;
    return source.transaction(async (manager) => {
      const made = await createApiKey(manager, {
        tenantId,
        name,
        permissions,
        expiresAt,
        createdBy: 'system',
      });
      const target = { kind: 'api_key', id: made.id, name };
      const details = { permissions, expires_at: expiresAt?.toISOString() ?? null };
      await auditOf(source).record({ ...eventOf(scope), action: 'api_key.create', target, details }, manager);
      return [made.key];
    });
  };
}

/** @throws StartupError naming what is allowed */
export function permissionsOf(text: string): Permission[] {
  const names = text.split(',').map((name) => name.trim());
  const unknown = names.filter((name) => !(PERMISSIONS as readonly string[]).includes(name));
  if (unknown.length > 0)
    throw usage(`--permissions ${text}: expected one or more of ${PERMISSIONS.join(', ')}`);
  return names as Permission[];
}

/** `90d`, `12h`, `30m` from now. @throws StartupError naming what is allowed */
export function expiryOf(text: string, nowMs: number): Date {
  const [, count, unit] = /^(\d{1,5})([mhd])$/.exec(text) ?? [];
  if (!Number(count)) throw usage(`--expires-in ${text}: expected a time such as 30m, 12h or 90d`);
  return new Date(nowMs + Number(count) * UNIT_MS[unit as keyof typeof UNIT_MS]);
}

/** @throws StartupError when there is none of that id, or no default one */
export async function findTenant(source: DataSource, id: string | undefined): Promise<Scope> {
  const [scope] = await source.query<Scope[]>(
    `SELECT w.organization_id AS "organizationId", w.id AS "workspaceId", t.id AS "tenantId"
     FROM tenants t JOIN workspaces w ON w.id = t.workspace_id
     WHERE CASE WHEN $1::text IS NULL THEN t.is_default ELSE t.id::text = lower($1) END`,
    [id ?? null],
  );
  if (scope) return scope;
  throw new StartupError(
    id === undefined ? 'There is no default tenant: name one with --tenant.' : `There is no tenant ${id}.`,
  );
}

interface ListedKey {
  id: string;
  prefix: string;
  name: string;
  permissions: string[];
  tenant: string;
  state: string;
  lastUsedAt: Date | null;
}

function keysList(args: string[]) {
  const { positionals } = parse(args, {});
  if (positionals.length > 0) throw usage(`Unexpected: ${positionals.join(' ')}`);
  return async (source: DataSource) => {
    const keys = await source.query<ListedKey[]>(
      `SELECT k.id, k.prefix, k.name, k.permissions, t.name AS tenant, u.last_used_at AS "lastUsedAt",
         CASE WHEN k.revoked_at IS NOT NULL THEN 'revoked' WHEN k.expires_at <= now() THEN 'expired'
           WHEN k.expires_at IS NULL THEN 'good' ELSE 'good until ' || to_char(k.expires_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI"Z"')
         END AS state
       FROM api_keys k JOIN tenants t ON t.id = k.tenant_id LEFT JOIN api_key_uses u ON u.api_key_id = k.id
       ORDER BY k.created_at, k.id`,
    );
    const rows = keys.map(({ id, prefix, permissions, state, tenant, name, lastUsedAt }) => [
      prefix,
      id,
      permissions.join(','),
      state,
      lastUsedAt?.toISOString() ?? 'never',
      tenant,
      name,
    ]);
    return table([['PREFIX', 'ID', 'PERMISSIONS', 'STATE', 'LAST USED', 'TENANT', 'NAME'], ...rows]);
  };
}

function keysRevoke(args: string[]) {
  const wanted = oneArgument(args, 'the id or the prefix of a key');
  return (source: DataSource) =>
    source.transaction(async (manager) => {
      const [key] = await manager.query<(Scope & { id: string; name: string; revokedAt: Date | null })[]>(
        `SELECT k.id, k.name, k.revoked_at AS "revokedAt", t.id AS "tenantId", w.id AS "workspaceId",
           w.organization_id AS "organizationId"
         FROM api_keys k JOIN tenants t ON t.id = k.tenant_id JOIN workspaces w ON w.id = t.workspace_id
         WHERE k.id::text = lower($1) OR k.prefix = $1`,
        [wanted],
      );
      if (!key) throw new StartupError(`There is no key with the id or prefix ${wanted}.`);
      if (key.revokedAt) return [`${key.name} (${key.id}) was revoked at ${key.revokedAt.toISOString()}.`];
      await manager.query('UPDATE api_keys SET revoked_at = now() WHERE id = $1', [key.id]);
      const target = { kind: 'api_key', id: key.id, name: key.name };
      await auditOf(source).record({ ...eventOf(key), action: 'api_key.revoke', target }, manager);
      return [`${key.name} (${key.id}) is revoked.`];
    });
}

function usersResetPassword(args: string[]) {
  const email = oneArgument(args, 'the e-mail address of a user');
  return async (source: DataSource) => {
    const password = makePassword();
    const hash = await hashPassword(password);
    return source.transaction(async (manager) => {
      const [user] = await manager.query<{ id: string; email: string }[]>(
        'SELECT id, email FROM users WHERE lower(email) = lower($1)',
        [email],
      );
      if (!user) throw new StartupError(`There is no user ${email}.`);
      await setPassword(manager, user.id, hash, null);
      const [first] = await readReach(manager, [user.id]);
      const scope = first?.scope ?? (await findTenant(source, undefined));
      const target = { kind: 'user', id: user.id, name: user.email };
      await auditOf(source).record({ ...eventOf(scope), action: 'user.password', target }, manager);
      return [`${user.email} / ${password}   (shown once; all its sessions have ended)`];
    });
  };
}

const auditOf = (source: DataSource) => new PostgresAudit(source, createLogger('error'));

/** Who runs the command, as far as the machine knows. */
function eventOf(scope: Scope): Pick<AuditEvent, 'principal' | 'remoteAddress' | 'correlationId' | 'result'> {
  const { organizationId, workspaceId, tenantId } = scope;
  const principal = systemPrincipal({ organizationId, workspaceId, tenantId });
  return {
    principal: { ...principal, name: userName() },
    remoteAddress: undefined,
    correlationId: '',
    result: 'ok',
  };
}

function userName(): string {
  try {
    return userInfo().username;
  } catch {
    // A container may run as a user that has no name.
    return `uid ${process.getuid?.() ?? 'unknown'}`;
  }
}
