import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { tmpdir } from 'node:os';
import { after, before, describe, it } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { type PostgresServer, startPostgres } from '../../test/support/postgres-server.js';
import { TenantsApp } from '../../test/support/tenants-app.js';
import { openPostgres, type Postgres } from '../connections/postgres.js';
import type { Scope } from '../edge/scope.js';

const PASSWORD = 'correct horse battery';
const ROUNDS = 20;
let server: PostgresServer;
let postgres: Postgres;
let app: TenantsApp;

before(async () => {
  server = await startPostgres();
  postgres = await openPostgres({ DATA_DIR: tmpdir(), DATABASE_URL: server.url });
  app = await TenantsApp.open(postgres);
});
after(async () => {
  await app.close();
  await postgres.close();
  await server.stop();
});

const idOf = (name: string) => app.principals.get(name)?.id ?? '';
const sorted = (answers: { status: number }[]) => answers.map(({ status }) => status).sort();

/** Organizations of their own, so that every round is the first. */
async function rounds(work: (scope: Scope, round: number) => Promise<void>): Promise<void> {
  for (let round = 0; round < ROUNDS; round++) await work(await app.makeOrganization(randomUUID()), round);
}

async function owners({ organizationId }: Scope): Promise<number> {
  const sql = `SELECT 1 FROM memberships WHERE organization_id = $1 AND role = 'owner'`;
  return (await postgres.query(sql, [organizationId])).length;
}

describe('Changes at the same time on a server', () => {
  it('two owners who demote, remove or disable each other leave one', async () => {
    const ways = [
      (whom: string) => ['PATCH', `/users/${whom}`, { role: 'viewer' }],
      (whom: string) => ['DELETE', `/users/${whom}`],
      (whom: string) => ['PATCH', `/users/${whom}`, { disabled: true }],
    ] as ((whom: string) => ['PATCH', string, unknown])[];
    await rounds(async (scope, round) => {
      const [one, two] = [`one-${round}`, `two-${round}`];
      for (const name of [one, two]) await app.makeUser(name, scope, 'owner');
      const way = ways[round % ways.length];
      const answers = await Promise.all([
        app.request(one, ...way(idOf(two))),
        app.request(two, ...way(idOf(one))),
      ]);
      const disabling = round % ways.length === 2;
      assert.ok([200, 204].includes(sorted(answers)[0]));
      assert.ok([403, 409].includes(sorted(answers)[1]), JSON.stringify(answers));
      assert.equal(await owners(scope), disabling ? 2 : 1);
      const active = `SELECT 1 FROM users WHERE id = ANY($1) AND disabled_at IS NULL`;
      if (disabling) assert.equal((await postgres.query(active, [[idOf(one), idOf(two)]])).length, 1);
    });
  });

  it('two owners who step back at once leave one', async () => {
    await rounds(async (scope, round) => {
      const names = [`steps-${round}`, `back-${round}`];
      for (const name of names) await app.makeUser(name, scope, 'owner');
      const answers = await Promise.all(
        names.map((name) => app.request(name, 'PATCH', `/users/${idOf(name)}`, { role: 'viewer' })),
      );
      assert.deepEqual(sorted(answers), [200, 409]);
      assert.equal(await owners(scope), 1);
    });
  });

  it('an address that five organizations add at once is one user', async () => {
    const names = await Promise.all(
      Array.from({ length: 5 }, async (_, i) => {
        const name = `adder-${i}`;
        await app.makeUser(name, await app.makeOrganization(name), 'owner');
        return name;
      }),
    );
    const body = { email: 'wanted@example.com', password: PASSWORD, role: 'viewer' };
    const answers = await Promise.all(names.map((name) => app.request(name, 'POST', '/users', body)));
    assert.deepEqual(sorted(answers), [201, 201, 201, 201, 201]);
    assert.equal(new Set(answers.map((answer) => answer.body.id)).size, 1);
    const removed = await Promise.all(
      names.map((name) => app.request(name, 'DELETE', `/users/${answers[0].body.id}`)),
    );
    assert.deepEqual(sorted(removed), [204, 204, 204, 204, 204]);
    const left = await postgres.query('SELECT 1 FROM users WHERE id = $1', [answers[0].body.id]);
    assert.deepEqual(left, [], 'the last one to leave takes the user with it');
  });

  it('a name that two give at once is given once', async () => {
    await rounds(async (scope, round) => {
      const name = `namer-${round}`;
      await app.makeUser(name, scope, 'owner');
      const body = { workspace_id: scope.workspaceId, name: 'the same' };
      const answers = await Promise.all([1, 2].map(() => app.request(name, 'POST', '/tenants', body)));
      assert.deepEqual(sorted(answers), [201, 409]);
    });
  });

  it('a tenant that is deleted while a key is made for it takes no key with it', async () => {
    await rounds(async (scope, round) => {
      const name = `maker-${round}`;
      await app.makeUser(name, scope, 'owner');
      const body = { name: 'k', permissions: ['ingest'], tenant_id: scope.tenantId };
      const [made, removed] = await Promise.all([
        app.request(name, 'POST', '/api-keys', body),
        app.request(name, 'DELETE', `/tenants/${scope.tenantId}`),
      ]);
      const left = (await postgres.query('SELECT 1 FROM api_keys WHERE tenant_id = $1', [scope.tenantId]))
        .length;
      assert.deepEqual(
        [made.status, removed.status, left],
        made.status === 201 ? [201, 409, 1] : [404, 204, 0],
      );
    });
  });

  it('a change that another one deadlocks with is tried again', async () => {
    const scope = await app.makeOrganization('locked');
    await app.makeUser('locker', scope, 'owner');
    const id = await app.makeUser('locked', scope, 'viewer');
    await postgres.query(
      `INSERT INTO sessions (id, user_id, remote_address, expires_at) VALUES ($1, $2, '', now() + interval '1 day')`,
      [randomUUID(), id],
    );
    const logout = postgres.dataSource.createQueryRunner();
    await logout.startTransaction();
    await logout.query('SELECT 1 FROM sessions WHERE user_id = $1 FOR UPDATE', [id]);
    const removing = app.request('locker', 'DELETE', `/users/${id}`);
    const waiting = `SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE 'DELETE FROM users%'`;
    while ((await postgres.query(waiting)).length === 0) await sleep(10);
    // Each now waits for what the other holds: PostgreSQL ends the one that has waited longer, which is the removal.
    await logout.query('UPDATE sessions SET revoked_at = now() WHERE user_id = $1', [id]);
    await logout.commitTransaction();
    await logout.release();
    assert.equal((await removing).status, 204);
    assert.deepEqual(await postgres.query('SELECT 1 FROM users WHERE id = $1', [id]), []);
  });

  it('many changes in many organizations all succeed', async () => {
    const names = await Promise.all(
      Array.from({ length: 8 }, async (_, i) => {
        const name = `busy-${i}`;
        const scope = await app.makeOrganization(name);
        await app.makeUser(name, scope, 'owner');
        await app.makeUser(`${name}-member`, scope, 'viewer');
        return name;
      }),
    );
    const work = names.flatMap((name) =>
      Array.from({ length: 10 }, (_, i) => {
        const role = i % 2 === 0 ? 'editor' : 'viewer';
        const key = { name: `k ${i}`, permissions: ['read'] };
        return [
          app.request(name, 'PATCH', `/users/${idOf(`${name}-member`)}`, { role }),
          app.request(name, 'POST', '/api-keys', key),
        ];
      }).flat(),
    );
    const statuses = new Set((await Promise.all(work)).map(({ status }) => status));
    assert.deepEqual(statuses, new Set([200, 201]));
  });
});
