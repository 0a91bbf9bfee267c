import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import pino from 'pino';
import { TenantsApp } from '../../test/support/tenants-app.js';
import { CacheService } from '../cache/cache.service.js';
import { openPostgres, type Postgres } from '../connections/postgres.js';
import { PANEL_QUESTIONS as QUESTIONS } from '../explore/panel-questions.js';
import { DashboardsController, PANEL_QUESTIONS } from './dashboards.controller.js';

const folder = mkdtempSync(join(tmpdir(), 'tf-dashboards-'));
const cache = new CacheService({ maxEntries: 100, maxBytes: 1e6 }, undefined, pino({ level: 'silent' }));
let postgres: Postgres;
let app: TenantsApp;
before(async () => {
  postgres = await openPostgres({ DATA_DIR: folder, DATABASE_URL: undefined });
  app = await TenantsApp.open(postgres, {
    controllers: [DashboardsController],
    providers: [
      { provide: CacheService, useValue: cache },
      { provide: PANEL_QUESTIONS, useValue: QUESTIONS },
    ],
  });
  const [shop, bank] = [await app.makeOrganization('shop'), await app.makeOrganization('bank')];
  await app.makeUser('editor', shop, 'editor');
  await app.makeUser('viewer', shop, 'viewer');
  await app.makeUser('stranger', bank, 'owner');
});
after(async () => {
  await cache.close();
  await app?.close();
  await postgres?.close();
  rmSync(folder, { recursive: true, force: true });
});

const panel = {
  title: 'Requests',
  chart: 'line',
  x: 0,
  y: 0,
  width: 12,
  height: 8,
  question: {
    path: 'metrics/query',
    parameters: { metric: 'http.server.request.duration', agg: 'p95', group_by: 'service_name' },
  },
};
const make = async (name: string, more = {}) => {
  const { status, body } = await app.request('editor', 'POST', '/dashboards', {
    name,
    panels: [panel],
    ...more,
  });
  assert.equal(status, 201, JSON.stringify(body));
  return body;
};
const refused = async (wrong: object) => {
  const body = { name: randomUUID(), panels: [{ ...panel, ...wrong }] };
  const answer = await app.request('editor', 'POST', '/dashboards', body);
  assert.equal(answer.status, 400, JSON.stringify(answer.body));
  return answer.body.details.map(({ field, allowed }: { field: string; allowed: string }) => [
    field,
    allowed,
  ]);
};

describe('Dashboards', () => {
  it('are kept as they were given, with what was left out filled in', async () => {
    const made = await make('Shop');
    const { id, created_at, updated_at, created_by, ...content } = made;
    assert.deepEqual(content, {
      name: 'Shop',
      description: '',
      time_range: 'now-1h',
      refresh_seconds: 30,
      panels: [panel],
      version: 1,
    });
    assert.ok(Math.abs(Date.parse(created_at) - Date.now()) < 60_000);
    assert.deepEqual((await app.request('viewer', 'GET', `/dashboards/${id}`)).body, made);
    const listed = await app.request('viewer', 'GET', '/dashboards?name=SHO');
    assert.deepEqual(listed.body.data, [made]);
    assert.deepEqual((await app.request('viewer', 'GET', '/dashboards?name=bank')).body.data, []);
  });

  it('are read from the cache until they change, and never as they were before', async () => {
    const { id } = await make('Cached');
    const read = () => app.request('viewer', 'GET', `/dashboards/${id}`);
    assert.equal((await read()).body.name, 'Cached');
    const { l1_hits } = { l1_hits: cache.getStats().prefixes.dashboard.l1Hits };
    assert.equal((await read()).body.name, 'Cached');
    assert.equal(cache.getStats().prefixes.dashboard.l1Hits, l1_hits + 1);
    await app.request('editor', 'PATCH', `/dashboards/${id}`, { name: 'Changed' });
    assert.equal((await read()).body.name, 'Changed');
    assert.equal((await app.request('editor', 'DELETE', `/dashboards/${id}`)).status, 204);
    assert.equal((await read()).status, 404);
  });

  it('of two changes of what was read, the second is told that there was a first', async () => {
    const { id, version } = await make('Shared');
    const change = (description: string) =>
      app.request('editor', 'PATCH', `/dashboards/${id}`, { description, version });
    assert.equal((await change('mine')).body.version, 2);
    const late = await change('theirs');
    assert.equal(late.status, 409);
    assert.match(late.body.message, /changed meanwhile: it has version 2/);
    assert.equal((await app.request('viewer', 'GET', `/dashboards/${id}`)).body.description, 'mine');
  });

  it('a panel is refused with the words of the route that it asks', async () => {
    const ask = (path: string, parameters: object) => refused({ question: { path, parameters } });
    assert.deepEqual(await ask('metrics/query', { metric: 'cpu', agg: 'mean' }), [
      [
        'panels.0.question.parameters.agg',
        'avg or min or max or sum or count or last or rate or increase or p50 or p75 or p90 or p95 or p99',
      ],
    ]);
    assert.deepEqual((await ask('logs', { servce: 'shop' }))[0][0], 'panels.0.question.parameters.servce');
    assert.deepEqual((await ask('traces', { from: 'now-1h' }))[0][0], 'panels.0.question.parameters.from');
    assert.deepEqual(await ask('api-keys', {}), [
      ['panels.0.question.path', `one of ${Object.keys(QUESTIONS).join(', ')}`],
    ]);
    assert.deepEqual(await ask('__proto__', {}), [
      ['panels.0.question.path', `one of ${Object.keys(QUESTIONS).join(', ')}`],
    ]);
    for (const path of Object.keys(QUESTIONS)) {
      const parameters = path === 'metrics/query' ? { metric: 'cpu', 'filter.host': ['a', 'b'] } : {};
      await make(`with ${path}`, { panels: [{ ...panel, question: { path, parameters } }] });
    }
  });

  it('a panel lies within the grid', async () => {
    assert.deepEqual(await refused({ x: 20, width: 5 }), [
      ['panels.0.width', '4 at most, because it begins at column 20 of 24'],
    ]);
    assert.deepEqual(await refused({ x: -1 }), [['panels.0.x', 'a whole number from 0 to 23']]);
    assert.deepEqual(await refused({ chart: 'pie' }), [
      ['panels.0.chart', 'one of line, area, bar, stat, table, list, map'],
    ]);
  });

  it('a time range begins before now, and a name is taken once', async () => {
    for (const time_range of ['now-1parsec', '2026-01-01', 'now']) {
      const body = { name: 'Ranges', panels: [], time_range };
      const answer = await app.request('editor', 'POST', '/dashboards', body);
      assert.equal(answer.status, 400, time_range);
      assert.equal(answer.body.details[0].field, 'time_range');
    }
    await make('Taken');
    const again = await app.request('editor', 'POST', '/dashboards', { name: 'taken', panels: [] });
    assert.equal(again.status, 409);
    assert.match(again.body.message, /dashboard of this name/);
  });

  it('viewers read, editors change, and strangers find nothing', async () => {
    const { id } = await make('Guarded');
    assert.equal((await app.request('viewer', 'PATCH', `/dashboards/${id}`, { name: 'mine' })).status, 403);
    assert.equal((await app.request('stranger', 'GET', `/dashboards/${id}`)).status, 404);
    assert.equal((await app.request('stranger', 'PATCH', `/dashboards/${id}`, { name: 'x' })).status, 404);
    assert.equal((await app.request('stranger', 'DELETE', `/dashboards/${id}`)).status, 404);
    assert.deepEqual((await app.request('stranger', 'GET', '/dashboards')).body.data, []);
  });

  it('every change is on the audit log', async () => {
    const { id } = await make('Audited');
    await app.request('editor', 'PATCH', `/dashboards/${id}`, { refresh_seconds: 5 });
    await app.request('editor', 'DELETE', `/dashboards/${id}`);
    const rows = await postgres.query<{ action: string; details: object }>(
      'SELECT action, details FROM audit_log WHERE target_id = $1 ORDER BY id',
      [id],
    );
    assert.deepEqual(
      rows.map(({ action }) => action),
      ['dashboard.create', 'dashboard.update', 'dashboard.delete'],
    );
    assert.deepEqual(rows[1].details, { changes: { refresh_seconds: { before: 30, after: 5 } } });
  });
});
