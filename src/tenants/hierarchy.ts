import { randomUUID } from 'node:crypto';
import type { DataSource, EntityManager } from 'typeorm';
import { PERMISSIONS_OF_ROLE, type Principal, type Role } from '../edge/principal.js';
import { AppError } from '../errors.js';
import type { Page, PageRequest } from '../store/page.js';
import {
  ask,
  assertLogin,
  byAge,
  type Changes,
  type Doing,
  differences,
  type List,
  listRows,
  type Note,
  readOne,
} from './rows.js';

interface Named {
  id: string;
  name: string;
  created_at: Date;
}

export interface Organization extends Named {
  /** The caller's own; null for a key. */
  role: Role | null;
}

export interface Workspace extends Named {
  organization_id: string;
}

export interface Tenant extends Named {
  organization_id: string;
  workspace_id: string;
  is_default: boolean;
  /** Per day (UTC); null: no quota. */
  items_per_day: number | null;
  bytes_per_day: number | null;
}

interface Things {
  organization: Organization;
  workspace: Workspace;
  tenant: Tenant;
}
type Thing = keyof Things;

/** How each level reads. A principal reaches what `from` and REACHED leave, and nothing else is ever selected. */
const LEVELS: Record<Thing, { table: string; columns: string; from: string; children: string }> = {
  organization: {
    table: 'organizations',
    columns: 'organizations.id, organizations.name, memberships.role, organizations.created_at',
    from: 'organizations',
    children: `SELECT 1 FROM workspaces WHERE organization_id = $1`,
  },
  workspace: {
    table: 'workspaces',
    columns: 'workspaces.id, workspaces.organization_id, workspaces.name, workspaces.created_at',
    from: 'workspaces JOIN organizations ON organizations.id = workspaces.organization_id',
    children: 'SELECT 1 FROM tenants WHERE workspace_id = $1',
  },
  tenant: {
    table: 'tenants',
    columns: `tenants.id, workspaces.organization_id, tenants.workspace_id, tenants.name, tenants.is_default,
      tenants.items_per_day::float8 AS items_per_day, tenants.bytes_per_day::float8 AS bytes_per_day, tenants.created_at`,
    from: `tenants JOIN workspaces ON workspaces.id = tenants.workspace_id
      JOIN organizations ON organizations.id = workspaces.organization_id`,
    children: 'SELECT 1 FROM api_keys WHERE tenant_id = $1 AND revoked_at IS NULL',
  },
};

const NOT_EMPTY: Record<Thing, string> = {
  organization: 'This organization has workspaces; delete those first.',
  workspace: 'This workspace has tenants; delete those first.',
  tenant: 'This tenant has API keys; revoke those first.',
};

/** A user reaches what its memberships hold ($1), every other principal its own organization, workspace and tenant ($2). */
function reachOf(principal: Principal, thing: Thing) {
  const { table, from } = LEVELS[thing];
  const { organizationId, workspaceId, tenantId } = principal.scope;
  const own = { organization: organizationId, workspace: workspaceId, tenant: tenantId }[thing];
  return {
    from: `${from} LEFT JOIN memberships ON memberships.organization_id = organizations.id AND memberships.user_id = $1`,
    where: `(memberships.role IS NOT NULL OR ${table}.id = $2)`,
    parameters: principal.kind === 'user' ? [principal.id, null] : [null, own],
  };
}

/** @param filters ids of what the things belong to, by column */
export function listThings<T extends Thing>(
  principal: Principal,
  source: DataSource,
  thing: T,
  filters: { organization_id?: string; workspace_id?: string },
  page: PageRequest,
): Promise<Page<Things[T]>> {
  const { from, where, parameters } = reachOf(principal, thing);
  const { table, columns } = LEVELS[thing];
  const conditions = [where];
  for (const [column, id] of Object.entries(filters)) {
    if (id === undefined) continue;
    const parent = column === 'organization_id' ? 'organizations' : 'workspaces';
    conditions.push(`${parent}.id::text = $${parameters.push(id.toLowerCase())}`);
  }
  const list: List = {
    name: table,
    filters: { ...filters, of: principal.id },
    columns,
    from,
    where: conditions.join(' AND '),
    parameters,
    sortedBy: byAge(table),
  };
  return listRows(principal.scope, source, () => list, page);
}

/** @throws AppError NOT_FOUND when there is none or it is not the principal's */
export async function readThing<T extends Thing>(
  principal: Principal,
  source: DataSource | EntityManager,
  thing: T,
  id: string,
): Promise<Things[T]> {
  const { from, where, parameters } = reachOf(principal, thing);
  const { table, columns } = LEVELS[thing];
  const sql = `SELECT ${columns} FROM ${from} WHERE ${where} AND ${table}.id = $3`;
  return readOne(source, thing, id, sql, parameters);
}

/**
 * Reads a thing that is about to be changed. Its organization is locked first: of two changes in one organization the second
 * begins when the first is done, and so sees what holds.
 *
 * @param role that the change takes at least; the membership in the thing's own organization decides
 * @throws AppError NOT_FOUND when it is not the principal's, PERMISSION_DENIED when its role is too small
 */
export async function readForChange<T extends Thing>(
  principal: Principal,
  manager: EntityManager,
  thing: T,
  id: string,
  role: 'owner' | 'admin' = 'admin',
): Promise<{ row: Things[T]; organizationId: string }> {
  const { from, where, parameters } = reachOf(principal, thing);
  const { table } = LEVELS[thing];
  const lock = `SELECT organizations.id FROM ${from} WHERE ${where} AND ${table}.id = $3 FOR UPDATE OF organizations`;
  const organization = await readOne<{ id: string }>(manager, thing, id, lock, parameters);
  const row = await readThing(principal, manager, thing, id);
  assertLogin(principal);
  const own = await readThing(principal, manager, 'organization', organization.id);
  if (
    !own.role ||
    !PERMISSIONS_OF_ROLE[own.role].has('admin') ||
    (role === 'owner' && own.role !== 'owner')
  ) {
    throw new AppError('PERMISSION_DENIED', `This takes the role ${role} here; yours is ${own.role}.`);
  }
  return { row, organizationId: organization.id };
}

/** Notes what was done to a thing. Only what is done to a tenant is of that tenant's record. */
function noteThing(
  note: Note,
  thing: Thing,
  verb: string,
  organizationId: string,
  { id, name }: Pick<Named, 'id' | 'name'>,
  details: Record<string, unknown>,
): Promise<void> {
  const tenantId = thing === 'tenant' ? id : null;
  return note({
    action: `${thing}.${verb}`,
    organizationId,
    tenantId,
    target: { kind: thing, id, name },
    details,
  });
}

/** Its creator is its first owner. @throws AppError PERMISSION_DENIED for anyone who is owner or admin nowhere */
export function createOrganization(doing: Doing, changes: Changes, given: { name: string }) {
  const { principal } = doing;
  assertLogin(principal);
  return changes.run(doing, async (manager, note) => {
    const sql = `SELECT 1 FROM memberships WHERE user_id = $1 AND role IN ('owner', 'admin') LIMIT 1`;
    if ((await ask(manager, sql, [principal.id])).length === 0)
      throw new AppError('PERMISSION_DENIED', 'This takes the role owner or admin in some organization.');
    const id = randomUUID();
    await ask(manager, 'INSERT INTO organizations (id, name) VALUES ($1, $2)', [id, given.name]);
    const join = `INSERT INTO memberships (user_id, organization_id, role) VALUES ($1, $2, 'owner')`;
    await ask(manager, join, [principal.id, id]);
    await noteThing(note, 'organization', 'create', id, { id, ...given }, { after: given });
    return readThing(principal, manager, 'organization', id);
  });
}

export function createWorkspace(
  doing: Doing,
  changes: Changes,
  { organization_id: parent, ...given }: { organization_id: string; name: string },
) {
  return changes.run(doing, async (manager, note) => {
    const { organizationId } = await readForChange(doing.principal, manager, 'organization', parent);
    const id = randomUUID();
    const sql = 'INSERT INTO workspaces (id, organization_id, name) VALUES ($1, $2, $3)';
    await ask(manager, sql, [id, organizationId, given.name]);
    await noteThing(note, 'workspace', 'create', organizationId, { id, ...given }, { after: given });
    return readThing(doing.principal, manager, 'workspace', id);
  });
}

export function createTenant(
  doing: Doing,
  changes: Changes,
  { workspace_id: parent, ...given }: Pick<Tenant, 'workspace_id' | 'name'> & Partial<Quotas>,
) {
  return changes.run(doing, async (manager, note) => {
    const { row, organizationId } = await readForChange(doing.principal, manager, 'workspace', parent);
    const id = randomUUID();
    const quotas = [given.items_per_day ?? null, given.bytes_per_day ?? null];
    const sql = `INSERT INTO tenants (id, workspace_id, name, items_per_day, bytes_per_day) VALUES ($1, $2, $3, $4, $5)`;
    await ask(manager, sql, [id, row.id, given.name, ...quotas]);
    await noteThing(note, 'tenant', 'create', organizationId, { id, ...given }, { after: given });
    return readThing(doing.principal, manager, 'tenant', id);
  });
}

type Quotas = Pick<Tenant, 'items_per_day' | 'bytes_per_day'>;
/** Names of columns: what a change may hold, each a field of the body's schema. */
type Changeable = Partial<Pick<Tenant, 'name'> & Quotas>;

/** @throws AppError NOT_FOUND, PERMISSION_DENIED, or CONFLICT when the name is taken */
export function changeThing<T extends Thing>(
  doing: Doing,
  changes: Changes,
  thing: T,
  id: string,
  given: T extends 'tenant' ? Changeable : Pick<Changeable, 'name'>,
): Promise<Things[T]> {
  return changes.run(doing, async (manager, note) => {
    const { row, organizationId } = await readForChange(doing.principal, manager, thing, id);
    const changed = differences<Changeable>(row, given);
    if (!changed) return row;
    const fields = (['name', 'items_per_day', 'bytes_per_day'] as const).filter((field) => field in changed);
    const set = fields.map((field, i) => `${field} = $${i + 2}`).join(', ');
    const values = fields.map((field) => (given as Changeable)[field]);
    await ask(manager, `UPDATE ${LEVELS[thing].table} SET ${set} WHERE id = $1`, [row.id, ...values]);
    await noteThing(note, thing, 'update', organizationId, row, { changes: changed });
    return readThing(doing.principal, manager, thing, id);
  });
}

/**
 * Deletes what is empty: an organization without workspaces (by an owner), a workspace without tenants, a tenant without keys
 * that still open it. What a tenant has stored stays until its retention ends, and nobody can ask for it any more.
 *
 * @throws AppError NOT_FOUND, PERMISSION_DENIED, or CONFLICT when it is not empty, or is the default tenant
 */
export function removeThing(doing: Doing, changes: Changes, thing: Thing, id: string): Promise<void> {
  return changes.run(doing, async (manager, note) => {
    const role = thing === 'organization' ? 'owner' : 'admin';
    const { row, organizationId } = await readForChange(doing.principal, manager, thing, id, role);
    const { table, children } = LEVELS[thing];
    // A key that is being made for this tenant holds its row: whichever comes second sees the other.
    await ask(manager, `SELECT 1 FROM ${table} WHERE id = $1 FOR UPDATE`, [row.id]);
    if ('is_default' in row && row.is_default)
      throw new AppError(
        'CONFLICT',
        'The default tenant cannot be deleted: requests without a key go to it.',
      );
    if ((await ask(manager, `${children} LIMIT 1`, [row.id])).length > 0)
      throw new AppError('CONFLICT', NOT_EMPTY[thing]);
    if (thing === 'organization') await removeMembers(manager, row.id);
    await ask(manager, `DELETE FROM ${table} WHERE id = $1`, [row.id]);
    await noteThing(note, thing, 'delete', organizationId, row, { before: row });
  });
}

/** Users who belong to no other organization go with their last one. */
async function removeMembers(manager: EntityManager, organizationId: string): Promise<void> {
  const members = `SELECT users.id FROM users JOIN memberships ON memberships.user_id = users.id
    WHERE memberships.organization_id = $1 ORDER BY users.id FOR UPDATE OF users`;
  const ids = (await ask<{ id: string }>(manager, members, [organizationId])).map(({ id }) => id);
  await ask(
    manager,
    `DELETE FROM users WHERE id = ANY($1) AND NOT EXISTS
     (SELECT 1 FROM memberships WHERE user_id = users.id AND organization_id <> $2)`,
    [ids, organizationId],
  );
}
