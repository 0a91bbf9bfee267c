import { randomUUID } from 'node:crypto';
import type { DataSource, EntityManager } from 'typeorm';
import type { Scope } from '../edge/scope.js';

const FIND = `
  SELECT organizations.id AS "organizationId", workspaces.id AS "workspaceId", tenants.id AS "tenantId"
  FROM tenants
  JOIN workspaces ON workspaces.id = tenants.workspace_id
  JOIN organizations ON organizations.id = workspaces.organization_id
  WHERE tenants.is_default`;

async function find(manager: EntityManager | DataSource): Promise<Scope | undefined> {
  const rows = (await manager.query(FIND)) as Scope[];
  return rows[0];
}

/** Makes the three rows, or none when another process had its default tenant in first. */
async function create(manager: EntityManager): Promise<void> {
  const [organizationId, workspaceId, tenantId] = [randomUUID(), randomUUID(), randomUUID()];
  // The lock makes a second process wait here, and then find what the first one made.
  await manager.query('LOCK TABLE tenants IN SHARE ROW EXCLUSIVE MODE');
  if (await find(manager)) return;
  await manager.query('INSERT INTO organizations (id, name) VALUES ($1, $2)', [organizationId, 'Default']);
  await manager.query('INSERT INTO workspaces (id, organization_id, name) VALUES ($1, $2, $3)', [
    workspaceId,
    organizationId,
    'Default',
  ]);
  await manager.query('INSERT INTO tenants (id, workspace_id, name, is_default) VALUES ($1, $2, $3, true)', [
    tenantId,
    workspaceId,
    'Default',
  ]);
}

/** The default organization, workspace and tenant, created when they are missing. Safe when processes race. */
export async function ensureDefaultTenant(source: DataSource): Promise<Scope> {
  const known = await find(source);
  if (known) return known;
  await source.transaction(create);
  const scope = await find(source);
  if (!scope) throw new Error('The default tenant is missing right after it was made');
  return scope;
}
