import { randomUUID } from 'node:crypto';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Logger } from 'pino';
import pino from 'pino';
import { CacheService } from '../../src/cache/cache.service.js';
import { migrationsFolder } from '../../src/connections/migration-files.js';
import { openPostgres, type Postgres } from '../../src/connections/postgres.js';
import type { AuditEvent, AuditTrail, Refusal } from '../../src/edge/audit.js';
import type { Scope } from '../../src/edge/scope.js';
import { splitStatements } from '../../src/sql/sql-text.js';
import { ensureDefaultTenant } from '../../src/tenants/default-tenant.js';

export const SILENT: Logger = pino({ level: 'silent' });

/** The cache of a process that is alone. */
export const newCache = () => new CacheService({ maxEntries: 1000, maxBytes: 1e7 }, undefined, SILENT);

/** PostgreSQL with this program's tables and the default tenant: embedded in `dataDir`, or the server at `url`. */
export async function openAccessDatabase(
  dataDir: string,
  url?: string,
): Promise<{ postgres: Postgres; scope: Scope }> {
  const postgres = await openPostgres({ DATA_DIR: dataDir, DATABASE_URL: url });
  const folder = join(migrationsFolder(), 'postgres');
  for (const file of readdirSync(folder).sort()) {
    const sql = readFileSync(join(folder, file), 'utf8');
    for (const statement of splitStatements(sql, 'postgres')) await postgres.query(statement);
  }
  return { postgres, scope: await ensureDefaultTenant(postgres.dataSource) };
}

/** An organization with a workspace and so many tenants, the first the oldest. */
export async function makeOrganization(
  postgres: Postgres,
  name: string,
  tenants: number,
): Promise<{ organizationId: string; tenantIds: string[] }> {
  const [organizationId, workspaceId] = [randomUUID(), randomUUID()];
  await postgres.query('INSERT INTO organizations (id, name) VALUES ($1, $2)', [organizationId, name]);
  await postgres.query('INSERT INTO workspaces (id, organization_id, name) VALUES ($1, $2, $3)', [
    workspaceId,
    organizationId,
    name,
  ]);
  const tenantIds = Array.from({ length: tenants }, () => randomUUID());
  for (const [index, id] of tenantIds.entries())
    await postgres.query('INSERT INTO tenants (id, workspace_id, name) VALUES ($1, $2, $3)', [
      id,
      workspaceId,
      `${name} ${index}`,
    ]);
  return { organizationId, tenantIds };
}

/** Keeps what is recorded in a list, in place of the database. */
export class AuditList implements AuditTrail {
  readonly events: AuditEvent[] = [];
  readonly refusals: Refusal[] = [];

  async record(event: AuditEvent): Promise<void> {
    this.events.push(event);
  }

  refuse(refusal: Refusal): void {
    this.refusals.push(refusal);
  }

  /** `action result` of what has been recorded since the last call. */
  take(): string[] {
    return this.events.splice(0).map(({ action, result }) => `${action} ${result}`);
  }
}
