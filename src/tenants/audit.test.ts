import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import pino from 'pino';
import { TenantsApp } from '../../test/support/tenants-app.js';
import { openPostgres, type Postgres } from '../connections/postgres.js';
import type { Scope } from '../edge/scope.js';
import { PostgresAudit } from './audit-trail.js';

const folder = mkdtempSync(join(tmpdir(), 'tf-audit-'));
const MAX_WAIT_MS = 5000;
let postgres: Postgres;
let app: TenantsApp;
let ours: Scope;

before(async () => {
  postgres = await openPostgres({ DATA_DIR: folder, DATABASE_URL: undefined });
  app = await TenantsApp.open(postgres);
  ours = await app.makeOrganization('ours', true);
  await app.makeUser('owner', ours, 'owner');
  await app.makeUser('viewer', ours, 'viewer');
  await app.makeKey('key', ours);
  await app.makeUser('stranger', await app.makeOrganization('theirs'), 'owner');
});
after(async () => {
  await app.close();
  await postgres.close();
  rmSync(folder, { recursive: true, force: true });
});

interface Event {
  id: number;
  at: string;
  action: string;
  [field: string]: unknown;
}

async function events(as: string, query = ''): Promise<Event[]> {
  const { status, body } = await app.request(as, 'GET', `/audit?${query}`);
  assert.equal(status, 200, JSON.stringify(body));
  return body.data;
}

const rows = () =>
  postgres.query<Record<string, unknown>>(
    `SELECT * FROM audit_log WHERE action = 'access.refuse' ORDER BY id`,
  );

/** Refusals written since `before` of them were there. */
async function refusalsAfter(before: number, count: number) {
  for (const deadline = Date.now() + MAX_WAIT_MS; Date.now() < deadline; await sleep(20)) {
    const written = (await rows()).slice(before);
    if (written.length >= count) return written;
  }
  throw new Error('Refusals were not written in time');
}

describe('The record of changes', () => {
  it('says who did what to which thing, from where, and what it was before', async () => {
    const path = `/organizations/${ours.organizationId}`;
    const answer = await app.request('owner', 'PATCH', path, { name: 'ours 2' });
    assert.equal(answer.status, 200);
    const [{ id, at, correlation_id, ...event }] = await events('owner', 'action=organization.update');
    assert.ok(Math.abs(Date.parse(at) - Date.now()) < 60_000);
    assert.ok(correlation_id);
    assert.deepEqual(event, {
      tenant_id: null,
      actor_kind: 'user',
      actor_id: app.principals.get('owner')?.id,
      actor_name: 'owner@example.com',
      action: 'organization.update',
      target_kind: 'organization',
      target_id: ours.organizationId,
      target_name: 'ours',
      remote_address: '127.0.0.1',
      result: 'ok',
      details: { changes: { name: { before: 'ours', after: 'ours 2' } } },
    });
  });

  it('has nothing of what was not done', async () => {
    const before = (await events('owner')).length;
    const path = `/organizations/${ours.organizationId}`;
    assert.equal((await app.request('owner', 'DELETE', path)).status, 409);
    assert.equal(
      (await app.request('owner', 'PATCH', path, { name: 'ours 2' })).status,
      200,
      'the same name',
    );
    assert.equal((await events('owner')).length, before);
  });

  it('and the change are both kept, or neither', async () => {
    await postgres.query(`CREATE FUNCTION break_audit() RETURNS trigger LANGUAGE plpgsql AS
      'BEGIN IF NEW.target_name = ''breaks'' THEN RAISE EXCEPTION ''no room''; END IF; RETURN NEW; END'`);
    await postgres.query(
      'CREATE TRIGGER break_audit BEFORE INSERT ON audit_log FOR EACH ROW EXECUTE FUNCTION break_audit()',
    );
    const body = { workspace_id: ours.workspaceId, name: 'breaks' };
    assert.equal((await app.request('owner', 'POST', '/tenants', body)).status, 500);
    assert.deepEqual(await postgres.query(`SELECT 1 FROM tenants WHERE name = 'breaks'`), []);
    await postgres.query('DROP TRIGGER break_audit ON audit_log');
  });

  it('is append-only', async () => {
    await app.request('owner', 'POST', '/organizations', { name: 'x' });
    for (const sql of [`UPDATE audit_log SET result = 'ok'`, 'DELETE FROM audit_log', 'TRUNCATE audit_log'])
      await assert.rejects(postgres.query(sql), /audit_log is append-only/, sql);
  });

  it('is seen by its own organization alone, and by a key as far as it is of its tenant', async () => {
    await app.request('owner', 'POST', '/api-keys', { name: 'seen', permissions: ['read'] });
    await app.request('stranger', 'POST', '/api-keys', { name: 'theirs', permissions: ['read'] });
    const seen = async (as: string) =>
      new Set((await events(as, 'result=ok')).map(({ action, target_name }) => `${action} ${target_name}`));
    assert.deepEqual(await seen('stranger'), new Set(['api_key.create theirs']));
    assert.deepEqual(await seen('key'), new Set(['api_key.create seen']));
    assert.ok((await seen('owner')).has('organization.update ours'));
    assert.ok(!(await seen('owner')).has('api_key.create theirs'));
  });

  it('is filtered by action, actor, target, result and time', async () => {
    const { body: key } = await app.request('owner', 'POST', '/api-keys', {
      name: 'f',
      permissions: ['read'],
    });
    const found = async (query: string) => (await events('owner', query)).map(({ action }) => action);
    assert.deepEqual(await found(`target=api_key/${key.id}`), ['api_key.create']);
    assert.deepEqual(await found(`target=api_key/${key.id}&result=refused`), []);
    assert.deepEqual(await found(`target=user/${key.id}`), []);
    assert.deepEqual(new Set(await found('target=api_key')), new Set(['api_key.create']));
    const owner = app.principals.get('owner');
    const all = (await found('result=ok')).length;
    assert.equal((await found(`result=ok&actor=${owner?.id}`)).length, all);
    assert.equal((await found(`result=ok&actor=${owner?.name}`)).length, all);
    assert.deepEqual(await found('actor=nobody'), []);
    assert.deepEqual(await found('to=now-1m'), []);
    assert.deepEqual(await found('from=now-3h&to=now-2h'), []);
    const [{ at }] = await events('owner', `target=api_key/${key.id}`);
    const ms = Date.parse(at);
    assert.deepEqual(await found(`target=api_key/${key.id}&from=${ms}&to=${ms + 1}`), ['api_key.create']);
    for (const query of ['action=', 'result=good', 'target=%00', 'who=me', 'from=now&to=now-1h'])
      assert.equal((await app.request('owner', 'GET', `/audit?${query}`)).status, 400, query);
  });

  it('is paged newest first, and what is added meanwhile moves no page', async () => {
    for (let i = 0; i < 12; i++)
      await app.request('owner', 'POST', '/api-keys', { name: `n ${i}`, permissions: ['read'] });
    const query = 'action=api_key.create&limit=5';
    const { body } = await app.request('owner', 'GET', `/audit?${query}`);
    assert.deepEqual(
      body.data.map(({ target_name }: Event) => target_name),
      ['n 11', 'n 10', 'n 9', 'n 8', 'n 7'],
    );
    await app.request('owner', 'POST', '/api-keys', { name: 'later', permissions: ['read'] });
    const next = await app.request('owner', 'GET', `/audit?${query}&cursor=${body.next_cursor}`);
    assert.deepEqual([next.body.page, next.body.data[0].target_name], [2, 'n 6']);
    const other = await app.request('owner', 'GET', `/audit?limit=5&cursor=${body.next_cursor}`);
    assert.equal(other.status, 400, 'a cursor belongs to its filters');
  });
});

describe('Refusals', () => {
  it('are counted, and written once for a caller and a reason', async () => {
    await sleep(1100);
    const before = (await rows()).length;
    for (let i = 0; i < 50; i++) {
      assert.equal((await app.request('viewer', 'GET', `/users?limit=${i + 1}`)).status, 403);
      assert.equal((await app.request('wrong', 'GET', '/users?secret=1')).status, 401);
    }
    const written = await refusalsAfter(before, 2);
    const said = written.map(({ actor_name, organization_id, result, target_kind, target_id, details }) => ({
      actor_name,
      organization_id,
      result,
      target_kind,
      target_id,
      details,
    }));
    const common = { result: 'refused', target_kind: 'route', target_id: 'GET /api/v1/users' };
    assert.deepEqual(said, [
      {
        ...common,
        actor_name: 'viewer@example.com',
        organization_id: ours.organizationId,
        details: { code: 'PERMISSION_DENIED', count: 50 },
      },
      {
        ...common,
        actor_name: 'anonymous',
        organization_id: null,
        details: { code: 'UNAUTHENTICATED', count: 50 },
      },
    ]);
    assert.equal((await events('owner', 'action=access.refuse&actor=viewer@example.com')).length, 1);
  });

  it('of any number of addresses cost a bounded number of rows, and none is lost from the count', async () => {
    const before = (await rows()).length;
    const audit = new PostgresAudit(postgres.dataSource, pino({ level: 'silent' }));
    const refusal = {
      code: 'UNAUTHENTICATED',
      principal: undefined,
      correlationId: '',
      method: 'GET',
      url: '/',
    } as const;
    for (let i = 0; i < 5000; i++) audit.refuse({ ...refusal, remoteAddress: `10.0.${i >> 8}.${i & 255}` });
    await audit.beforeApplicationShutdown();
    const written = (await rows()).slice(before);
    assert.equal(written.length, 101);
    const counts = written.map(({ details }) => (details as { count: number }).count);
    assert.equal(
      counts.reduce((sum, count) => sum + count),
      5000,
    );
    assert.equal(written[100].remote_address, 'many');
  });

  it('a fault of the database is logged, and stops nobody', async () => {
    const lines: string[] = [];
    const log = pino({ level: 'error' }, { write: (line: string) => lines.push(line) });
    const gone = await openPostgres({ DATA_DIR: join(folder, 'gone'), DATABASE_URL: undefined });
    const audit = new PostgresAudit(gone.dataSource, log);
    await audit.record({
      action: 'session.login',
      result: 'failed',
      principal: undefined,
      remoteAddress: '127.0.0.1',
      correlationId: 'c',
    });
    await gone.close();
    assert.equal(lines.length, 1, 'there is no such table');
    assert.match(lines[0], /session\.login/);
  });
});
