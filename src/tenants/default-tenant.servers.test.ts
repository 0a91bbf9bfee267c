import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import { startPostgres } from '../../test/support/postgres-server.js';
import { migrationsFolder } from '../connections/migration-files.js';
import { openPostgres, type Postgres } from '../connections/postgres.js';
import { ensureDefaultTenant } from './default-tenant.js';

const folder = mkdtempSync(join(tmpdir(), 'tf-tenants-'));
after(() => rmSync(folder, { recursive: true, force: true }));
const schema = readFileSync(join(migrationsFolder(), 'postgres', '001_tenancy.sql'), 'utf8');

async function counts(postgres: Postgres) {
  const sql = `SELECT (SELECT count(*)::integer FROM organizations) AS organizations,
    (SELECT count(*)::integer FROM workspaces) AS workspaces, (SELECT count(*)::integer FROM tenants) AS tenants`;
  return (await postgres.query(sql))[0];
}

describe('The default tenant on a server', () => {
  it('is one when processes race on a server', async () => {
    const server = await startPostgres();
    const pools = await Promise.all(
      Array.from({ length: 5 }, () => openPostgres({ DATA_DIR: folder, DATABASE_URL: server.url })),
    );
    await pools[0].query(schema);
    const scopes = await Promise.all(pools.map(({ dataSource }) => ensureDefaultTenant(dataSource)));
    for (const scope of scopes) assert.deepEqual(scope, scopes[0]);
    assert.deepEqual(await counts(pools[0]), { organizations: 1, workspaces: 1, tenants: 1 });
    await Promise.all(pools.map((pool) => pool.close()));
    await server.stop();
  });
});
