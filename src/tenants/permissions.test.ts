import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { TenantsApp } from '../../test/support/tenants-app.js';
import { openPostgres, type Postgres } from '../connections/postgres.js';
import type { Role } from '../edge/principal.js';
import type { Scope } from '../edge/scope.js';

const folder = mkdtempSync(join(tmpdir(), 'tf-permissions-'));
let postgres: Postgres;
let app: TenantsApp;
/** `ours` has a user of each role and two tenants; `theirs` is another organization. */
let ours: Scope;
let sibling: Scope;
let made = 0;

const ACTORS = ['owner', 'admin', 'editor', 'viewer', 'stranger', 'key', 'siblingKey', 'strangerKey'];

before(async () => {
  postgres = await openPostgres({ DATA_DIR: folder, DATABASE_URL: undefined });
  app = await TenantsApp.open(postgres);
  ours = await app.makeOrganization('ours', true);
  sibling = { ...ours, tenantId: await app.makeTenant(ours.workspaceId, 'sibling') };
  const theirs = await app.makeOrganization('theirs');
  for (const role of ['owner', 'admin', 'editor', 'viewer'] as const) await app.makeUser(role, ours, role);
  await app.makeUser('stranger', theirs, 'owner');
  await app.makeKey('key', ours);
  await app.makeKey('siblingKey', sibling);
  await app.makeKey('strangerKey', theirs);
});
after(async () => {
  await app.close();
  await postgres.close();
  rmSync(folder, { recursive: true, force: true });
});

const idOf = (actor: string) => app.principals.get(actor)?.id ?? '';
const fresh = (what: string) => `${what} ${++made}`;

async function organization(): Promise<string> {
  const id = randomUUID();
  await postgres.query('INSERT INTO organizations (id, name) VALUES ($1, $2)', [id, fresh('organization')]);
  for (const role of ['owner', 'admin', 'editor', 'viewer'] as const) await app.join(idOf(role), id, role);
  return id;
}

async function workspace(): Promise<string> {
  const id = randomUUID();
  const sql = 'INSERT INTO workspaces (id, organization_id, name) VALUES ($1, $2, $3)';
  await postgres.query(sql, [id, ours.organizationId, fresh('workspace')]);
  return id;
}

const tenant = () => app.makeTenant(ours.workspaceId, fresh('tenant'));
const member = (role: Role) => () => app.makeUser(`${role}${++made}`, ours, role);
const key = () => app.makeKey(fresh('key'), ours);

interface Row {
  ask: string;
  body?: () => object;
  /** What the request is about, made anew for every actor; `:id` in the path. */
  on?: (actor: string) => string | Promise<string>;
  /** One status per actor, in their order. */
  expect: number[];
}

const newUser = (role: Role) => () => ({
  email: `${fresh('x').replace(' ', '')}@example.com`,
  password: 'correct horse battery',
  role,
});
const named = () => ({ name: fresh('name') });

/** owner, admin, editor, viewer, stranger, key of the tenant, key of a sibling tenant, stranger's key */
const TABLE: Row[] = [
  { ask: 'GET /organizations', expect: [200, 200, 200, 200, 200, 200, 200, 200] },
  {
    ask: 'GET /organizations/:id',
    on: () => ours.organizationId,
    expect: [200, 200, 200, 200, 404, 200, 200, 404],
  },
  { ask: 'POST /organizations', body: named, expect: [201, 201, 403, 403, 201, 403, 403, 403] },
  {
    ask: 'PATCH /organizations/:id',
    on: () => ours.organizationId,
    body: named,
    expect: [200, 200, 403, 403, 404, 403, 403, 404],
  },
  {
    ask: 'DELETE /organizations/:id',
    on: () => ours.organizationId,
    expect: [409, 403, 403, 403, 404, 403, 403, 404],
  },
  { ask: 'DELETE /organizations/:id', on: organization, expect: [204, 403, 403, 403, 404, 404, 404, 404] },
  { ask: 'GET /workspaces', expect: [200, 200, 200, 200, 200, 200, 200, 200] },
  {
    ask: 'GET /workspaces/:id',
    on: () => ours.workspaceId,
    expect: [200, 200, 200, 200, 404, 200, 200, 404],
  },
  { ask: 'GET /workspaces/:id', on: workspace, expect: [200, 200, 200, 200, 404, 404, 404, 404] },
  {
    ask: 'POST /workspaces',
    body: () => ({ organization_id: ours.organizationId, ...named() }),
    expect: [201, 201, 403, 403, 404, 403, 403, 404],
  },
  {
    ask: 'PATCH /workspaces/:id',
    on: () => ours.workspaceId,
    body: named,
    expect: [200, 200, 403, 403, 404, 403, 403, 404],
  },
  {
    ask: 'DELETE /workspaces/:id',
    on: () => ours.workspaceId,
    expect: [409, 409, 403, 403, 404, 403, 403, 404],
  },
  { ask: 'DELETE /workspaces/:id', on: workspace, expect: [204, 204, 403, 403, 404, 404, 404, 404] },
  { ask: 'GET /tenants', expect: [200, 200, 200, 200, 200, 200, 200, 200] },
  { ask: 'GET /tenants/:id', on: () => ours.tenantId, expect: [200, 200, 200, 200, 404, 200, 404, 404] },
  {
    ask: 'POST /tenants',
    body: () => ({ workspace_id: ours.workspaceId, ...named() }),
    expect: [201, 201, 403, 403, 404, 403, 403, 404],
  },
  {
    ask: 'PATCH /tenants/:id',
    on: () => ours.tenantId,
    body: named,
    expect: [200, 200, 403, 403, 404, 403, 404, 404],
  },
  { ask: 'DELETE /tenants/:id', on: () => ours.tenantId, expect: [409, 409, 403, 403, 404, 403, 404, 404] },
  { ask: 'DELETE /tenants/:id', on: tenant, expect: [204, 204, 403, 403, 404, 404, 404, 404] },
  { ask: 'GET /users', expect: [200, 200, 403, 403, 200, 403, 403, 403] },
  { ask: 'GET /users/:id', on: member('viewer'), expect: [200, 200, 403, 403, 404, 403, 403, 403] },
  { ask: 'POST /users', body: newUser('admin'), expect: [201, 201, 403, 403, 201, 403, 403, 403] },
  { ask: 'POST /users', body: newUser('owner'), expect: [201, 403, 403, 403, 201, 403, 403, 403] },
  {
    ask: 'PATCH /users/:id',
    on: member('viewer'),
    body: () => ({ role: 'editor' }),
    expect: [200, 200, 403, 403, 404, 403, 403, 403],
  },
  {
    ask: 'PATCH /users/:id',
    on: member('viewer'),
    body: () => ({ role: 'owner' }),
    expect: [200, 403, 403, 403, 404, 403, 403, 403],
  },
  {
    ask: 'PATCH /users/:id',
    on: member('owner'),
    body: () => ({ disabled: true }),
    expect: [200, 403, 403, 403, 404, 403, 403, 403],
  },
  { ask: 'PATCH /users/:id', on: idOf, body: named, expect: [200, 200, 200, 200, 200, 403, 403, 403] },
  {
    ask: 'PATCH /users/:id',
    on: (actor) => (actor === 'viewer' || actor === 'editor' ? idOf(actor) : member('viewer')()),
    body: () => ({ ...named(), role: 'admin' }),
    expect: [200, 200, 403, 403, 404, 403, 403, 403],
  },
  { ask: 'DELETE /users/:id', on: member('viewer'), expect: [204, 204, 403, 403, 404, 403, 403, 403] },
  { ask: 'DELETE /users/:id', on: member('owner'), expect: [204, 403, 403, 403, 404, 403, 403, 403] },
  { ask: 'GET /api-keys', expect: [200, 200, 403, 403, 200, 200, 200, 200] },
  {
    ask: 'GET /api-keys?tenant_id=:id',
    on: () => ours.tenantId,
    expect: [200, 200, 403, 403, 404, 200, 404, 404],
  },
  { ask: 'GET /api-keys/:id', on: key, expect: [200, 200, 403, 403, 404, 200, 404, 404] },
  {
    ask: 'POST /api-keys',
    body: () => ({ ...named(), permissions: ['ingest'], tenant_id: ours.tenantId }),
    expect: [201, 201, 403, 403, 404, 201, 404, 404],
  },
  { ask: 'PATCH /api-keys/:id', on: key, body: named, expect: [200, 200, 403, 403, 404, 200, 404, 404] },
  { ask: 'DELETE /api-keys/:id', on: key, expect: [204, 204, 403, 403, 404, 204, 404, 404] },
  { ask: 'GET /audit', expect: [200, 200, 403, 403, 200, 200, 200, 200] },
];

describe('Who may do what', () => {
  for (const [i, { ask, body, on, expect }] of TABLE.entries()) {
    it(`row ${i + 1}: ${ask} is answered to each as the table says`, async () => {
      const statuses: Record<string, number> = {};
      for (const actor of ACTORS) {
        const [method, path] = ask.split(' ') as ['GET', string];
        const id = on ? await on(actor) : '';
        const answer = await app.request(actor, method, path.replace(':id', id), body?.());
        statuses[actor] = answer.status;
      }
      assert.deepEqual(statuses, Object.fromEntries(ACTORS.map((actor, i) => [actor, expect[i]])));
    });
  }

  it('without a credential there is nothing', async () => {
    for (const { ask, body } of TABLE) {
      const [method, path] = ask.split(' ') as ['GET', string];
      const { status } = await app.request(undefined, method, path, body?.());
      assert.equal(status, 401, ask);
    }
  });

  it('what is not yours, what is not there, and what is no id are answered in the same words', async () => {
    for (const { ask, body } of TABLE.filter(({ ask }) => ask.includes(':id') && !ask.includes('?'))) {
      const [method, path] = ask.split(' ') as ['GET', string];
      const theirs = path.startsWith('/users')
        ? idOf('stranger')
        : path.startsWith('/api')
          ? idOf('strangerKey')
          : '';
      const [thing] = await postgres.query<{ id: string }>(
        `SELECT id FROM ${path.startsWith('/organizations') ? 'organizations' : path.startsWith('/workspaces') ? 'workspaces' : 'tenants'} WHERE name = 'theirs'`,
      );
      const answers = [];
      for (const id of [theirs || thing.id, randomUUID(), 'nonsense', `${'0'.repeat(36)}`, '%00']) {
        const answer = await app.request('owner', method, path.replace(':id', id), body?.());
        answers.push([answer.status, answer.body.code, answer.body.message, answer.body.details]);
      }
      for (const answer of answers) assert.deepEqual(answer, answers[0], ask);
      assert.equal(answers[0][0], 404, ask);
    }
  });
});
