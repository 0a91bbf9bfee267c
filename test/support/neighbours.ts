import assert from 'node:assert/strict';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Permission } from '../../src/edge/principal.js';
import { type Answer, call } from './http.js';
import type { Row, Thing } from './routes-table.js';
import type { Server } from './server.js';

export type Headers = Record<string, string>;
export const bearer = (credential: string): Headers => ({ authorization: `Bearer ${credential}` });
export const ALL: Permission[] = ['ingest', 'read', 'write', 'admin'];
/** After so long an answer that does not end by itself has shown what it shows. */
const MAX_ENDLESS_MS = 1500;
const PASSWORD = 'long enough for all';

/** Any operation of the API: `get /api/v1/tenants/{id}`, with `id` in place of what is in braces. */
export function ask(
  server: Server,
  operation: string,
  row: Row,
  headers: Headers,
  id = 'x',
): Promise<Answer> {
  const [method, path] = operation.split(' ');
  const withId = (text: string) => text.replace(/\{\w+\}/g, id);
  const url = `${server.api}${withId(row.query ? `${path}?${row.query}` : path)}`;
  const body = method === 'get' ? '' : withId(JSON.stringify(row.body ?? {}));
  return call(url, {
    method: method.toUpperCase(),
    headers: { 'content-type': 'application/json', ...headers },
    body,
    maxMs: row.endless && MAX_ENDLESS_MS,
  });
}

/** An answer without what differs from request to request, and without the id that was asked for. */
export function plainly({ status, body }: Answer, id = '-'): unknown {
  const text = body.toString().replaceAll(id, '{id}');
  const parsed: unknown = text === '' ? {} : JSON.parse(text);
  const { correlation_id, timestamp, meta, ...rest } = parsed as Record<string, unknown>;
  return { status, ...rest };
}

/** One organization with a tenant, as its owner sees it. */
export interface House {
  owner: Headers;
  ids: Record<Thing, string>;
  /** Of its tenant, with all permissions. */
  key: string;
}

/** Two organizations that know nothing of each other; the first has a second tenant. */
export interface Neighbours {
  ours: House;
  theirs: House;
  /** A login of ours that may only read. */
  viewer: Headers;
  sibling: { tenantId: string; key: string; keyId: string };
  keyFor(permissions: Permission[], more?: object): Promise<{ id: string; key: string }>;
}

interface Made {
  id: string;
  key: string;
}

/** The JSON of a request to the API that succeeds. */
export async function succeed<T>(
  server: Server,
  method: string,
  path: string,
  headers: Headers,
  content?: object,
): Promise<T> {
  const { status, body } = await call(`${server.api}/api/v1/${path}`, {
    method,
    headers: { ...headers, ...(content ? { 'content-type': 'application/json' } : {}) },
    body: content ? JSON.stringify(content) : '',
  });
  assert.ok(status >= 200 && status < 300, `${method} ${path}: ${status} ${body}`);
  return (body.length > 0 ? JSON.parse(body.toString()) : undefined) as T;
}

/** Sets both organizations up through the API; the admin of the start owns the first and leaves the second. */
export async function makeNeighbours(server: Server): Promise<Neighbours> {
  const admin = bearer(server.key);
  const make = (path: string, headers: Headers, content: object) =>
    succeed<Made>(server, 'POST', path, headers, content);
  const login = async (email: string) => {
    const body = { email, password: PASSWORD };
    const { access_token } = await succeed<{ access_token: string }>(server, 'POST', 'auth/login', {}, body);
    return bearer(access_token);
  };
  const me = await succeed<{ user: Made; scope: Record<string, string> }>(server, 'GET', 'auth/me', admin);
  const member = (email: string, role: string) => ({ email, role, password: PASSWORD });

  const organization = (await make('organizations', admin, { name: 'theirs' })).id;
  const houses: House[] = [];
  for (const [name, organizationId] of [
    ['ours', me.scope.organization_id],
    ['theirs', organization],
  ]) {
    const workspace = (await make('workspaces', admin, { organization_id: organizationId, name })).id;
    const tenant = (await make('tenants', admin, { workspace_id: workspace, name })).id;
    const inTenant = { ...admin, 'x-tenant-id': tenant };
    const owner = await make('users', inTenant, member(`owner@${name}.example`, 'owner'));
    const key = await make('api-keys', inTenant, { name: 'all', permissions: ALL });
    // Nothing is sent there: it leads to this machine itself.
    const settings = { url: 'https://localhost/hook' };
    const channel = await make('notification-channels', inTenant, { name: 'hook', kind: 'slack', settings });
    await make(`notification-channels/${channel.id}/test`, inTenant, {});
    const ids = {
      organization: organizationId,
      workspace,
      tenant,
      user: owner.id,
      key: key.id,
      trace: '',
      channel: channel.id,
      ...(await makeAlert(make, inTenant)),
      incident: '',
      dashboard: (await make('dashboards', inTenant, { name: 'board', panels: [] })).id,
    };
    houses.push({
      owner: { ...(await login(`owner@${name}.example`)), 'x-tenant-id': tenant },
      ids,
      key: key.key,
    });
  }
  const [ours, theirs] = houses;
  await succeed(server, 'DELETE', `users/${me.user.id}`, theirs.owner);
  await make('users', ours.owner, member('viewer@ours.example', 'viewer'));
  const tenantId = (await make('tenants', ours.owner, { workspace_id: ours.ids.workspace, name: 'sibling' }))
    .id;
  const keyOfSibling = { tenant_id: tenantId, name: 'sibling', permissions: ALL };
  const { id: keyId, key } = await make('api-keys', ours.owner, keyOfSibling);
  for (const house of houses) house.ids.incident = await firstIncident(server, house);
  return {
    ours,
    theirs,
    viewer: await login('viewer@ours.example'),
    sibling: { tenantId, key, keyId },
    keyFor: (permissions, more = {}) =>
      make('api-keys', ours.owner, { name: permissions.join(), permissions, ...more }),
  };
}

/** A rule that fires at its first evaluation, because there is nothing, and a silence of something else. */
async function makeAlert(
  make: (path: string, headers: Headers, content: object) => Promise<Made>,
  headers: Headers,
) {
  const query = { signal: 'metrics', metric: 'nothing' };
  const rule = { name: 'nothing comes', query, absent: 'critical', interval: '10s', window: '10s' };
  const matchers = [{ label: 'rule', operator: '=', value: 'another' }];
  const silence = { matchers, comment: 'of neighbours', ends_at: '2100-01-01T00:00:00Z' };
  return {
    rule: (await make('alerts/rules', headers, rule)).id,
    silence: (await make('alerts/silences', headers, silence)).id,
  };
}

async function firstIncident(server: Server, { owner, ids }: House): Promise<string> {
  for (const deadline = Date.now() + 60_000; ; await sleep(200)) {
    const path = `alerts/incidents?rule_id=${ids.rule}`;
    const { data } = await succeed<{ data: Made[] }>(server, 'GET', path, owner);
    if (data.length > 0) return data[0].id;
    assert.ok(Date.now() < deadline, 'a rule makes an incident');
  }
}
