import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import { migrationsFolder } from '../connections/migration-files.js';
import { openPostgres, type Postgres } from '../connections/postgres.js';
import { splitStatements } from '../sql/sql-text.js';
import { ensureDefaultTenant } from './default-tenant.js';

const folder = mkdtempSync(join(tmpdir(), 'tf-tenants-'));
after(() => rmSync(folder, { recursive: true, force: true }));
const schema = readFileSync(join(migrationsFolder(), 'postgres', '001_tenancy.sql'), 'utf8');

async function counts(postgres: Postgres) {
  const sql = `SELECT (SELECT count(*)::integer FROM organizations) AS organizations,
    (SELECT count(*)::integer FROM workspaces) AS workspaces, (SELECT count(*)::integer FROM tenants) AS tenants`;
  return (await postgres.query(sql))[0];
}

describe('The default tenant', () => {
  it('is made once and then found, by ten callers at once too', async () => {
    const postgres = await openPostgres({ DATA_DIR: folder, DATABASE_URL: undefined });
    for (const statement of splitStatements(schema, 'postgres')) await postgres.query(statement);
    const scopes = await Promise.all(
      Array.from({ length: 10 }, () => ensureDefaultTenant(postgres.dataSource)),
    );
    for (const scope of scopes) assert.deepEqual(scope, scopes[0]);
    assert.match(scopes[0].tenantId, /^[0-9a-f-]{36}$/);
    assert.equal(new Set(Object.values(scopes[0])).size, 3);
    assert.deepEqual(await counts(postgres), { organizations: 1, workspaces: 1, tenants: 1 });
    await postgres.close();
  });
});
