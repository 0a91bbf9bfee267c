import assert from 'node:assert/strict';
import { call, getJson } from './http.js';
import type { Server } from './server.js';

/** A tenant made by the admin, with a key to send and another one to ask. */
export interface TestTenant {
  tenantId: string;
  ingestKey: string;
  readKey: string;
}

/** Makes a tenant beside the default one. */
export async function makeTenant(server: Server, name: string): Promise<TestTenant> {
  const post = async (path: string, content: unknown) => {
    const headers = { authorization: `Bearer ${server.key}`, 'content-type': 'application/json' };
    const { status, body } = await call(`${server.api}/api/v1/${path}`, {
      headers,
      body: JSON.stringify(content),
    });
    assert.equal(status, 201, `${path}: ${body}`);
    return JSON.parse(body.toString()) as { id: string; key: string };
  };
  const { body } = await getJson(`${server.api}/api/v1/auth/me`, server.key);
  const { workspace_id } = (body as { scope: { workspace_id: string } }).scope;
  const { id: tenant_id } = await post('tenants', { workspace_id, name });
  const keyFor = async (permission: string) =>
    (await post('api-keys', { name: `${name} ${permission}`, tenant_id, permissions: [permission] })).key;
  return { tenantId: tenant_id, ingestKey: await keyFor('ingest'), readKey: await keyFor('read') };
}
