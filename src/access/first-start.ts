import { randomInt, randomUUID } from 'node:crypto';
import type { DataSource, EntityManager } from 'typeorm';
import type { AuditTrail } from '../edge/audit.js';
import type { Principal } from '../edge/principal.js';
import type { Scope } from '../edge/scope.js';
import { createApiKey } from '../tenants/api-key.js';
import { hashPassword } from '../tenants/password.js';

export const FIRST_EMAIL = 'admin@localhost';
const KEY_NAME = 'first ingest key';
/** Without what is taken for something else: 0 and o, 1 and l and i. */
const READABLE = 'abcdefghjkmnpqrstuvwxyz23456789';

/** What the first start made, to be shown once. */
export interface FirstStart {
  email: string;
  password: string;
  ingestKey: string;
}

/** What the program itself does, for the audit log. */
export function systemPrincipal(scope: Scope): Principal {
  return { kind: 'system', id: 'system', name: 'system', scope, permissions: new Set() };
}

/** A password of 118 random bits that can be read out: four groups of six letters and digits. */
export function makePassword(): string {
  const group = () => Array.from({ length: 6 }, () => READABLE[randomInt(READABLE.length)]).join('');
  return [group(), group(), group(), group()].join('-');
}

/**
 * Makes the admin of the default organization and an ingest key of the default tenant when there is no user at all. Of
 * processes that start at once one makes them.
 *
 * @returns undefined when there are users
 */
export async function makeFirstAdmin(
  source: DataSource,
  scope: Scope,
  audit: AuditTrail,
): Promise<FirstStart | undefined> {
  if (await hasUsers(source)) return undefined;
  const password = makePassword();
  // Before the lock: it takes a while.
  const hash = await hashPassword(password);
  return source.transaction(async (manager) => {
    await manager.query('LOCK TABLE users IN SHARE ROW EXCLUSIVE MODE');
    if (await hasUsers(manager)) return undefined;
    const userId = randomUUID();
    await manager.query('INSERT INTO users (id, email, name, password_hash) VALUES ($1, $2, $3, $4)', [
      userId,
      FIRST_EMAIL,
      'Admin',
      hash,
    ]);
    await manager.query(`INSERT INTO memberships (user_id, organization_id, role) VALUES ($1, $2, 'owner')`, [
      userId,
      scope.organizationId,
    ]);
    const { id, key } = await createApiKey(manager, {
      tenantId: scope.tenantId,
      name: KEY_NAME,
      permissions: ['ingest'],
      createdBy: 'system',
    });
    const event = {
      principal: systemPrincipal(scope),
      remoteAddress: undefined,
      correlationId: '',
      result: 'ok',
    } as const;
    const user = { kind: 'user', id: userId, name: FIRST_EMAIL };
    await audit.record({ ...event, action: 'user.create', target: user }, manager);
    await audit.record(
      { ...event, action: 'api_key.create', target: { kind: 'api_key', id, name: KEY_NAME } },
      manager,
    );
    return { email: FIRST_EMAIL, password, ingestKey: key };
  });
}

async function hasUsers(manager: DataSource | EntityManager): Promise<boolean> {
  return (await manager.query<unknown[]>('SELECT 1 FROM users LIMIT 1')).length > 0;
}

/** The user that the printed link logs in: the first admin, or the oldest owner of the default organization. */
export async function localAdmin(source: DataSource, organizationId: string): Promise<string | undefined> {
  const [user] = await source.query<{ id: string }[]>(
    `SELECT u.id FROM users u JOIN memberships m ON m.user_id = u.id
     WHERE m.organization_id = $1 AND m.role = 'owner' AND u.disabled_at IS NULL
     ORDER BY lower(u.email) = $2 DESC, u.created_at LIMIT 1`,
    [organizationId, FIRST_EMAIL],
  );
  return user?.id;
}
