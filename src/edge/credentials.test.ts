import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { AppError } from '../errors.js';
import { Credentials, isLoopback } from './credentials.js';
import type { Identities } from './principal.js';

const scope = { organizationId: 'o', workspaceId: 'w', tenantId: 't' };
const nobody: Identities = { find: async () => undefined };
const refused = (error: unknown) => error instanceof AppError && error.code === 'UNAUTHENTICATED';

describe('Without a key', () => {
  const credentials = new Credentials(nobody, scope, 'loopback');
  const from = (remoteAddress: string | undefined, headers = {}) =>
    credentials.resolve({ headers, remoteAddress });

  it('this machine acts for the default tenant', async () => {
    for (const address of ['127.0.0.1', '127.8.9.1', '::1', '::ffff:127.0.0.1'])
      assert.equal((await from(address)).scope, scope);
    for (const host of ['localhost:4318', '127.0.0.1', '[::1]:3000', 'api.localhost']) {
      assert.equal((await from('127.0.0.1', { host })).scope, scope);
    }
  });

  it('other machines are refused', async () => {
    for (const address of ['10.0.0.1', '::ffff:10.0.0.1', '2001:db8::1', undefined]) {
      await assert.rejects(() => from(address), refused);
    }
  });

  it('what a proxy on this machine forwards is not from this machine', async () => {
    await assert.rejects(() => from('127.0.0.1', { 'x-forwarded-for': '203.0.113.9' }), refused);
    await assert.rejects(() => from('127.0.0.1', { forwarded: 'for=203.0.113.9' }), refused);
  });

  it('a page whose name was pointed at this machine is refused', async () => {
    for (const host of ['evil.example:4318', '127.0.0.1.evil.example', '10.0.0.1']) {
      await assert.rejects(() => from('127.0.0.1', { host }), refused);
    }
  });

  it('nobody is let in when anonymous ingest is off', async () => {
    await assert.rejects(
      () => new Credentials(nobody, scope, 'off').resolve({ headers: {}, remoteAddress: '127.0.0.1' }),
      refused,
    );
  });
});

it('a key that is not known is refused, from this machine too', async () => {
  const credentials = new Credentials(nobody, scope, 'loopback');
  for (const headers of [{ authorization: 'Bearer x' }, { 'x-api-key': 'x' }]) {
    await assert.rejects(() => credentials.resolve({ headers, remoteAddress: '127.0.0.1' }), refused);
  }
});

it('a tenant header never widens what a credential may touch', async () => {
  const credentials = new Credentials(nobody, scope, 'loopback');
  const as = (tenant: string) =>
    credentials.resolve({ headers: { 'x-tenant-id': tenant }, remoteAddress: '127.0.0.1' });
  assert.equal((await as('t')).scope, scope);
  await assert.rejects(
    () => as('other'),
    (error) => error instanceof AppError && error.code === 'PERMISSION_DENIED',
  );
});

it('loopback is 127.0.0.0/8 and ::1, nothing else', async () => {
  assert.ok(isLoopback('127.255.255.254'));
  assert.ok(!isLoopback('128.0.0.1'));
  assert.ok(!isLoopback(''));
});
