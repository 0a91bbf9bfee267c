import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { type Answer, TenantsApp } from '../../test/support/tenants-app.js';
import { openPostgres, type Postgres } from '../connections/postgres.js';
import type { Scope } from '../edge/scope.js';
import { hashKey } from './api-key.js';
import { verifyPassword } from './password.js';

const folder = mkdtempSync(join(tmpdir(), 'tf-rules-'));
const PASSWORD = 'correct horse battery';
let postgres: Postgres;
let app: TenantsApp;
let ours: Scope;
let theirs: Scope;

before(async () => {
  postgres = await openPostgres({ DATA_DIR: folder, DATABASE_URL: undefined });
  app = await TenantsApp.open(postgres);
  ours = await app.makeOrganization('ours', true);
  theirs = await app.makeOrganization('theirs');
  await app.makeUser('owner', ours, 'owner');
  await app.makeUser('admin', ours, 'admin');
  await app.makeUser('viewer', ours, 'viewer');
  await app.makeUser('stranger', theirs, 'owner');
  await app.makeKey('key', ours, ['read', 'admin']);
});
after(async () => {
  await app.close();
  await postgres.close();
  rmSync(folder, { recursive: true, force: true });
});

const idOf = (name: string) => app.principals.get(name)?.id ?? '';
const fields = ({ body }: Answer) => body.details?.map(({ field }: { field: string }) => field);

/** An organization of its own with these owners, the first of whom asks. */
async function organizationOf(...owners: string[]): Promise<void> {
  const scope = await app.makeOrganization(owners[0]);
  for (const owner of owners) await app.makeUser(owner, scope, 'owner');
}

async function lastEvent(action: string) {
  const sql = 'SELECT * FROM audit_log WHERE action = $1 ORDER BY id DESC LIMIT 1';
  return (await postgres.query<Record<string, unknown>>(sql, [action]))[0];
}

describe('Organizations, workspaces and tenants', () => {
  it('are made, read, renamed and deleted, from the top down and from the bottom up', async () => {
    const organization = await app.request('owner', 'POST', '/organizations', { name: ' Shop ' });
    assert.equal(organization.status, 201);
    assert.deepEqual([organization.body.name, organization.body.role], ['Shop', 'owner']);
    const inside = { organization_id: organization.body.id, name: 'Web' };
    const workspace = await app.request('owner', 'POST', '/workspaces', inside);
    const quotas = { items_per_day: 1000, bytes_per_day: Number.MAX_SAFE_INTEGER };
    const given = { workspace_id: workspace.body.id, name: 'live', ...quotas };
    const { body: tenant } = await app.request('owner', 'POST', '/tenants', given);
    const { created_at, id, ...rest } = tenant;
    assert.deepEqual(rest, { ...given, organization_id: organization.body.id, is_default: false });
    assert.deepEqual((await app.request('owner', 'GET', `/tenants/${id}`)).body, tenant);

    const change = { name: 'live 2', items_per_day: null };
    const changed = await app.request('owner', 'PATCH', `/tenants/${id}`, change);
    assert.deepEqual([changed.status, changed.body], [200, { ...tenant, ...change }]);

    const remove = async (path: string) => (await app.request('owner', 'DELETE', path)).status;
    assert.equal(await remove(`/organizations/${organization.body.id}`), 409);
    assert.equal(await remove(`/workspaces/${workspace.body.id}`), 409);
    for (const path of [
      `/tenants/${id}`,
      `/workspaces/${workspace.body.id}`,
      `/organizations/${organization.body.id}`,
    ]) {
      assert.equal(await remove(path), 204, path);
      assert.equal(await remove(path), 404, path);
    }
  });

  it('are seen by a user in all its organizations, by a key in its own alone', async () => {
    const both = await app.makeUser('both', ours, 'viewer');
    await app.join(both, theirs.organizationId, 'admin');
    const names = async (as: string, path: string) =>
      (await app.request(as, 'GET', path)).body.data.map(({ name }: { name: string }) => name);
    for (const path of ['/organizations', '/workspaces', '/tenants']) {
      assert.deepEqual(await names('both', path), ['ours', 'theirs'], path);
      assert.deepEqual(await names('stranger', path), ['theirs'], path);
      assert.deepEqual(await names('key', path), ['ours'], path);
    }
    assert.deepEqual(await names('both', `/tenants?organization_id=${theirs.organizationId}`), ['theirs']);
    assert.deepEqual(await names('both', `/tenants?workspace_id=${ours.workspaceId.toUpperCase()}`), [
      'ours',
    ]);
    assert.deepEqual(await names('stranger', `/tenants?workspace_id=${ours.workspaceId}`), []);
    assert.deepEqual(await names('both', '/tenants?workspace_id=nonsense'), []);
  });

  it('are changed by the role in their own organization, whichever the login acts in', async () => {
    const twofold = await app.makeUser('twofold', ours, 'viewer');
    await app.join(twofold, theirs.organizationId, 'admin');
    const rename = async (id: string) =>
      (await app.request('twofold', 'PATCH', `/tenants/${id}`, { name: 'theirs' })).status;
    assert.deepEqual([await rename(ours.tenantId), await rename(theirs.tenantId)], [403, 200]);
  });

  it('have names that are unique where they are, in any case', async () => {
    const tenant = { workspace_id: ours.workspaceId, name: 'OURS' };
    const { status, body } = await app.request('owner', 'POST', '/tenants', tenant);
    assert.deepEqual([status, body.code], [409, 'CONFLICT']);
    const workspace = { organization_id: ours.organizationId, name: 'Ours' };
    assert.equal((await app.request('owner', 'POST', '/workspaces', workspace)).status, 409);
  });

  it('a tenant with a key that opens it is not deleted', async () => {
    const scope = { ...ours, tenantId: await app.makeTenant(ours.workspaceId, 'keyed') };
    const key = await app.makeKey('keyed', scope);
    const remove = async () => (await app.request('owner', 'DELETE', `/tenants/${scope.tenantId}`)).status;
    assert.equal(await remove(), 409);
    assert.equal((await app.request('owner', 'DELETE', `/api-keys/${key}`)).status, 204);
    assert.equal(await remove(), 204);
  });

  it('an organization takes the users with it who belong to no other', async () => {
    const id = randomUUID();
    await postgres.query('INSERT INTO organizations (id, name) VALUES ($1, $2)', [id, 'brief']);
    await app.join(idOf('owner'), id, 'owner');
    const alone = await app.makeUser('alone', { ...ours, organizationId: id }, 'viewer');
    assert.equal((await app.request('owner', 'DELETE', `/organizations/${id}`)).status, 204);
    const left = await postgres.query<{ id: string }>('SELECT id FROM users WHERE id = ANY($1)', [
      [alone, idOf('owner')],
    ]);
    assert.deepEqual(left, [{ id: idOf('owner') }]);
  });
});

describe('Members', () => {
  const add = (as: string, email: string, role = 'viewer', name = 'Eve') =>
    app.request(as, 'POST', '/users', { email, name, password: PASSWORD, role });

  it('are added with a password that is kept as Argon2id, and that no answer or record shows', async () => {
    const { status, body } = await add('admin', 'New@Example.com', 'editor');
    assert.equal(status, 201);
    const { id, created_at, ...rest } = body;
    assert.deepEqual(rest, { email: 'new@example.com', name: 'Eve', role: 'editor', disabled: false });
    const [user] = await postgres.query<{ password_hash: string }>('SELECT * FROM users WHERE id = $1', [id]);
    assert.ok(await verifyPassword(user.password_hash, PASSWORD));
    const event = await lastEvent('user.create');
    assert.deepEqual(event.details, { after: { email: 'new@example.com', role: 'editor' } });
    assert.deepEqual((await app.request('admin', 'GET', `/users/${id}`)).body, body);
  });

  it('an address that another organization knows is added with the same answer, and keeps its password and name', async () => {
    const known = await add('stranger', 'known@example.com', 'viewer', 'Known');
    const first = await add('admin', 'known@example.com', 'editor', 'Other');
    const second = await add('admin', 'unknown@example.com', 'editor', 'Other');
    const shape = ({ status, body }: Answer) => ({ status, ...body, id: '', email: '', created_at: '' });
    assert.deepEqual(shape(first), shape(second));
    assert.equal(first.body.id, known.body.id);
    const read = await app.request('admin', 'GET', `/users/${first.body.id}`);
    assert.deepEqual([read.body.name, read.body.role], ['Known', 'editor']);
    assert.equal((await app.request('stranger', 'GET', `/users/${first.body.id}`)).body.role, 'viewer');
    assert.equal((await add('admin', 'KNOWN@example.com')).status, 409, 'who is a member here is known here');
  });

  it('of other organizations too are neither renamed nor disabled, only removed, and then stay there', async () => {
    const { body } = await add('stranger', 'shared@example.com');
    await add('admin', 'shared@example.com');
    const change = (given: object) => app.request('admin', 'PATCH', `/users/${body.id}`, given);
    assert.equal((await change({ disabled: true })).status, 409);
    assert.equal((await change({ name: 'Mine' })).status, 409);
    assert.equal((await change({ role: 'editor' })).status, 200);
    assert.equal((await app.request('admin', 'DELETE', `/users/${body.id}`)).status, 204);
    assert.equal((await app.request('stranger', 'GET', `/users/${body.id}`)).body.role, 'viewer');
    assert.equal((await app.request('stranger', 'DELETE', `/users/${body.id}`)).status, 204);
    assert.deepEqual(await postgres.query('SELECT 1 FROM users WHERE id = $1', [body.id]), []);
  });

  it('the last owner can be neither removed, demoted nor disabled; a disabled owner is none', async () => {
    await organizationOf('first', 'second');
    const change = (as: string, whom: string, given: object) =>
      app.request(as, 'PATCH', `/users/${idOf(whom)}`, given);
    assert.equal((await change('first', 'second', { disabled: true })).body.disabled, true);
    assert.equal((await change('first', 'first', { role: 'viewer' })).status, 409);
    assert.equal((await change('first', 'first', { disabled: true })).status, 409);
    assert.equal((await app.request('first', 'DELETE', `/users/${idOf('first')}`)).status, 409);
    assert.equal((await change('first', 'second', { disabled: false })).body.disabled, false);
    assert.equal((await change('first', 'first', { role: 'admin' })).status, 200);
    const gone = await change('first', 'second', { role: 'admin' });
    assert.deepEqual(
      [gone.status, gone.body.code],
      [403, 'PERMISSION_DENIED'],
      'no longer an owner, at once',
    );
  });

  it('who was removed may do nothing more, whatever the login remembers', async () => {
    await organizationOf('stays', 'goes');
    assert.equal((await app.request('stays', 'DELETE', `/users/${idOf('goes')}`)).status, 204);
    assert.equal((await add('goes', 'late@example.com')).status, 403);
    assert.equal((await app.request('goes', 'POST', '/organizations', { name: 'x' })).status, 403);
  });
});

describe('API keys', () => {
  const make = (as: string, given: object) => app.request(as, 'POST', '/api-keys', given);

  it('are shown once, and kept as a hash', async () => {
    const limits = { ingestion: { limit: 5, ttl_ms: 1000 } };
    const expires_at = new Date(Date.now() + 3_600_000).toISOString();
    const { status, body } = await make('admin', {
      name: 'ci',
      permissions: ['ingest', 'ingest'],
      limits,
      expires_at,
    });
    assert.equal(status, 201);
    const { key, ...shown } = body;
    assert.ok(key.startsWith(`${body.prefix}_`));
    assert.deepEqual(
      { ...shown, id: '', prefix: '', created_at: '' },
      {
        id: '',
        tenant_id: ours.tenantId,
        name: 'ci',
        prefix: '',
        permissions: ['ingest'],
        limits,
        expires_at,
        expired: false,
        revoked_at: null,
        revoked: false,
        created_by: idOf('admin'),
        created_at: '',
        last_used_at: null,
      },
    );
    const [row] = await postgres.query<{ key_hash: Buffer }>('SELECT * FROM api_keys WHERE id = $1', [
      body.id,
    ]);
    assert.deepEqual(row.key_hash, hashKey(key));
    assert.deepEqual((await app.request('admin', 'GET', `/api-keys/${body.id}`)).body, shown);
    const list = await app.request('key', 'GET', '/api-keys');
    assert.deepEqual(
      list.body.data.filter(({ id }: { id: string }) => id === body.id),
      [shown],
    );
    assert.ok(!JSON.stringify(await lastEvent('api_key.create')).includes(key));
  });

  it('grant nothing that their maker does not have', async () => {
    const { status, body } = await make('key', { name: 'x', permissions: ['read', 'ingest'] });
    assert.deepEqual([status, body.code], [403, 'PERMISSION_DENIED']);
    const made = await make('key', { name: 'x', permissions: ['read'] });
    assert.deepEqual([made.status, made.body.created_by], [201, idOf('key')]);
  });

  it('can be renamed and limited, and after they are revoked they stay in the list', async () => {
    const id = await app.makeKey('old', ours);
    const limits = { default: { limit: 0, ttl_ms: 60_000 } };
    const changed = await app.request('admin', 'PATCH', `/api-keys/${id}`, { name: 'new', limits });
    assert.deepEqual([changed.body.name, changed.body.limits], ['new', limits]);
    assert.equal(
      (await app.request('admin', 'PATCH', `/api-keys/${id}`, { limits: null })).body.limits,
      null,
    );
    await postgres.query('INSERT INTO api_key_uses VALUES ($1, now())', [id]);
    for (const _ of [1, 2])
      assert.equal((await app.request('admin', 'DELETE', `/api-keys/${id}`)).status, 204);
    const { body } = await app.request('admin', 'GET', `/api-keys/${id}`);
    assert.deepEqual(
      [body.revoked, typeof body.revoked_at, typeof body.last_used_at],
      [true, 'string', 'string'],
    );
    const events = await postgres.query('SELECT 1 FROM audit_log WHERE action = $1 AND target_id = $2', [
      'api_key.revoke',
      id,
    ]);
    assert.equal(events.length, 1, 'revoked once');
  });

  it('say that they have expired', async () => {
    const id = await app.makeKey('brief', ours);
    await postgres.query(`UPDATE api_keys SET expires_at = now() - interval '1 second' WHERE id = $1`, [id]);
    assert.equal((await app.request('admin', 'GET', `/api-keys/${id}`)).body.expired, true);
  });
});

describe('Bodies and lists', () => {
  it('are refused with the field, what was given and what is allowed; a password is never repeated', async () => {
    const user = { email: 'a@b', name: '', password: PASSWORD, role: 'viewer' };
    const wrong: ['POST' | 'PATCH', string, unknown, string[]][] = [
      ['POST', '/organizations', {}, ['name']],
      ['POST', '/organizations', { name: '  ' }, ['name']],
      ['POST', '/organizations', { name: 'a\u0000b' }, ['name']],
      ['POST', '/organizations', { name: 'a\ud800b' }, ['name']],
      ['POST', '/organizations', { name: 'x', role: 'owner' }, ['role']],
      ['POST', '/organizations', ['x'], ['body']],
      ['POST', '/organizations', undefined, ['body']],
      ['PATCH', `/organizations/${ours.organizationId}`, {}, ['body']],
      ['POST', '/workspaces', { name: 'x', organization_id: 5 }, ['organization_id']],
      [
        'PATCH',
        `/tenants/${ours.tenantId}`,
        { items_per_day: 0, bytes_per_day: 1.5 },
        ['items_per_day', 'bytes_per_day'],
      ],
      ['PATCH', `/tenants/${ours.tenantId}`, { is_default: true }, ['is_default']],
      ['POST', '/users', { ...user, email: 'nobody' }, ['email']],
      ['POST', '/users', { ...user, password: 'hunter2' }, ['password']],
      ['POST', '/users', { ...user, password: ['hunter2'] }, ['password']],
      ['POST', '/users', { ...user, role: 'root', pasword: 'hunter2' }, ['role', 'pasword']],
      ['PATCH', `/users/${idOf('viewer')}`, { password: 'hunter2' }, ['password']],
      ['POST', '/api-keys', { name: 'x', permissions: [] }, ['permissions']],
      ['POST', '/api-keys', { name: 'x', permissions: ['root'] }, ['permissions.0']],
      ['POST', '/api-keys', { name: 'x', permissions: ['read'], expires_at: 'now' }, ['expires_at']],
      ['POST', '/api-keys', { name: 'x', permissions: ['read'], expires_at: '2001-01-01' }, ['expires_at']],
      ['POST', '/api-keys', { name: 'x', permissions: ['read'], limits: { login: {} } }, ['limits.login']],
      [
        'POST',
        '/api-keys',
        { name: 'x', permissions: ['read'], limits: { default: { limit: -1, ttl_ms: 1 } } },
        ['limits.default.limit'],
      ],
    ];
    for (const [method, path, body, expected] of wrong) {
      const answer = await app.request('owner', method, path, body);
      const said = `${method} ${path} ${JSON.stringify(body)} -> ${JSON.stringify(answer.body)}`;
      assert.deepEqual([answer.status, answer.body.code], [400, 'INVALID_ARGUMENT'], said);
      assert.deepEqual(fields(answer), expected, said);
      for (const detail of answer.body.details) assert.ok(detail.allowed, said);
      assert.ok(!JSON.stringify(answer.body).includes('hunter2'), said);
    }
    const broken = await app.request('owner', 'POST', '/users', '{"password": "hunter2"');
    assert.equal(broken.status, 400);
    assert.ok(!JSON.stringify(broken.body).includes('hunter2'));
  });

  it('are paged by number and by cursor like every list', async () => {
    const scope = await app.makeOrganization('paged');
    await app.makeUser('pager', scope, 'owner');
    // One statement, one time: the id alone tells them apart.
    await postgres.query(
      `INSERT INTO tenants (id, workspace_id, name) SELECT gen_random_uuid(), $1, 'tenant ' || n FROM generate_series(1, 24) AS n`,
      [scope.workspaceId],
    );
    const all = (await app.request('pager', 'GET', '/tenants')).body;
    assert.deepEqual(
      [all.data.length, all.total_pages, all.next_cursor, all.meta.source],
      [25, 1, null, 'postgresql'],
    );
    const seen: unknown[] = [];
    let query = 'limit=10';
    for (let page = 1; page <= 3; page++) {
      const { body } = await app.request('pager', 'GET', `/tenants?${query}`);
      const byNumber = await app.request('pager', 'GET', `/tenants?limit=10&page=${page}`);
      assert.deepEqual(body.data, byNumber.body.data);
      assert.deepEqual([body.page, body.limit, body.total_pages], [page, 10, 3]);
      seen.push(...body.data);
      query = `limit=10&cursor=${body.next_cursor}`;
    }
    assert.deepEqual(seen, all.data);
    const { next_cursor } = (await app.request('pager', 'GET', '/tenants?limit=1')).body;
    assert.equal(
      (await app.request('owner', 'GET', `/tenants?cursor=${next_cursor}`)).status,
      400,
      'not their page',
    );
    assert.deepEqual(fields(await app.request('owner', 'GET', '/tenants?workspace=x')), ['workspace']);
    const bad = await app.request('owner', 'GET', '/tenants?workspace_id=%00');
    assert.equal(bad.status, 400);
  });
});
